"""Quantise column by column, each column making up for the rounding errors before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from llmc.compress.method import Compressed, Kind, LayerStats, Needs
from llmc.compress.shared.quantising import check_grid, quantised
from llmc.compress.walk.feedback import check_damping, prepare
from llmc.compress.walk.inputs import as_float
from llmc.kernels.sweep import sweep
from llmc.ops.grid import fit_grid
from llmc.ops.sweep import SweepSettings


@dataclass(frozen=True, kw_only=True)
class GPTQ:
    """Round one input column after the other, and let the later ones make up for the errors so far.

    The grids are those of the dense weight's own groups, fixed before the sweep: so inputs may be processed in any
    order and a group is still a run of neighbouring columns, with no index to look up at run time.

    Source: Frantar et al. 2022, arXiv:2210.17323, algorithm 1. Deviations: static groups; inputs that calibration
    never lit are rounded to nearest where the published code zeroes them.
    """

    name: ClassVar[str] = "gptq"
    kind: ClassVar[Kind] = "quantisation"
    source: ClassVar[str] = "Frantar et al. 2022, arXiv:2210.17323"
    needs: ClassVar[Needs] = Needs.GRAM

    bits: int = 4
    """Bits of a code: 2, 3, 4 or 8."""

    group_size: int = 128
    """Input columns of a row that share a scale; -1 for the whole row. It must divide the width."""

    symmetric: bool = True
    """Mirror the grid about zero; False fits a zero point too, which fewer programs can load."""

    mse: bool = True
    """Search each group for the narrower grid with the least rounding error, instead of spanning all its weights."""

    act_order: bool = True
    """Process the inputs with the largest activations first; the stored layout is the same either way."""

    damping: float = 0.01
    """Added to the Gram matrix's diagonal, as a fraction of its mean; raised tenfold, with a warning, if need be."""

    def __post_init__(self) -> None:
        check_grid(self.bits, self.group_size)
        check_damping(self.damping)

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The weight on its grids; one that was pruned is 0, and if `weight` still has it, others make up for it."""
        dense = as_float(weight)
        grid = fit_grid(
            dense if keep is None else dense * keep,
            bits=self.bits,
            group_size=self.group_size,
            symmetric=self.symmetric,
            dtype=weight.dtype,
            search=self.mse,
        )
        factors, warnings = prepare(weight, stats, self.damping, descending=self.act_order)
        offsets = sweep(dense, factors, SweepSettings(grid=grid, keep=keep)).result
        return quantised(
            weight, offsets, grid, keep, group_size=self.group_size, damping=factors.damping, warnings=warnings
        )


METHOD = GPTQ
