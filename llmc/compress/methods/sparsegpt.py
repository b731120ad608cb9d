"""Prune column by column, the kept weights making up for the pruned ones; round in the same sweep if asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from llmc.compress.method import Compressed, Kind, LayerStats, Needs
from llmc.compress.shared.pruning import DEFAULT_SPARSITY, check_sparsity, pattern_of, pruned
from llmc.compress.shared.quantising import check_grid, quantised
from llmc.compress.walk.feedback import check_damping, prepare
from llmc.compress.walk.inputs import as_float
from llmc.kernels.choose import drop_lowest, keep_n_of_m
from llmc.kernels.sweep import sweep
from llmc.ops.grid import Grid, fit_grid
from llmc.ops.masks import Pattern, check_divides
from llmc.ops.sweep import Select, SweepSettings

BLOCK = 128
"""Columns over which one threshold chooses, across all rows."""


@dataclass(frozen=True, kw_only=True)
class SparseGPT:
    """Zero the weights that cost the layer's output least, and let the columns after them make up for the loss.

    Without a pattern one threshold serves all rows of a block of 128 columns, chosen from the weights as they stand
    when the sweep gets there; with N:M each row chooses within each group of M. With `bits` what is kept is rounded in
    the same sweep, to grids searched for the dense weight: one column's pruning and rounding errors are made good
    together.

    Source: Frantar & Alistarh 2023, arXiv:2301.00774, algorithm 1. Deviations: exact counts; inputs that calibration
    never lit are not zeroed outright, but count as cheapest.
    """

    name: ClassVar[str] = "sparsegpt"
    kind: ClassVar[Kind] = "pruning"
    source: ClassVar[str] = "Frantar & Alistarh 2023, arXiv:2301.00774"
    needs: ClassVar[Needs] = Needs.GRAM

    sparsity: float = DEFAULT_SPARSITY
    """Fraction of each block of 128 input columns set to zero, in [0, 1)."""

    pattern: str | None = None
    """N:M keeps N of every M consecutive inputs ("2:4") and takes the place of sparsity."""

    damping: float = 0.01
    """Added to the Gram matrix's diagonal, as a fraction of its mean; raised tenfold, with a warning, if need be."""

    bits: int | None = None
    """Round the kept weights to codes of 2, 3, 4 or 8 bits in the same sweep; not set: prune only."""

    group_size: int = 128
    """With bits: input columns of a row that share a scale; -1 for the whole row. It must divide the width."""

    symmetric: bool = True
    """With bits: mirror the grid about zero; False fits a zero point too, which fewer programs can load."""

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, self.pattern)
        check_damping(self.damping)
        if self.bits is not None:
            check_grid(self.bits, self.group_size)

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The pruned weight, compensated; what `keep` says was pruned counts as dropped first."""
        pattern = pattern_of(self.pattern)
        dense = as_float(weight)
        if pattern is not None:
            check_divides(weight.shape[-1], pattern)
        grid = self._grid(dense, weight)
        factors, warnings = prepare(weight, stats, self.damping)
        settings = SweepSettings(
            grid=grid,
            keep=keep,
            select=_chooser(self.sparsity, pattern),
            every=BLOCK if pattern is None else pattern.of,
            pattern=pattern,
        )
        result, chosen = sweep(dense, factors, settings)
        assert chosen is not None
        if grid is None:
            return pruned(result.to(weight.dtype), chosen, pattern, damping=factors.damping, warnings=warnings)
        return quantised(
            weight,
            result,
            grid,
            chosen,
            pattern=pattern,
            group_size=self.group_size,
            damping=factors.damping,
            warnings=warnings,
        )

    def _grid(self, dense: Tensor, weight: Tensor) -> Grid | None:
        if self.bits is None:
            return None
        return fit_grid(
            dense,
            bits=self.bits,
            group_size=self.group_size,
            symmetric=self.symmetric,
            dtype=weight.dtype,
            search=True,
        )


def _chooser(sparsity: float, pattern: Pattern | None) -> Select:
    """What maps the scores (columns, out) of a span to the weights that stay."""
    if pattern is None:
        return lambda score: drop_lowest(score.reshape(1, -1), sparsity).view(score.shape)
    return lambda score: keep_n_of_m(score.T, pattern).T


METHOD = SparseGPT
