"""Quantise by rounding, after scaling up the input channels that matter and clipping what rounds better without."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from llmc.compress.method import Compressed, Kind, LayerStats, Needs
from llmc.compress.shared.quantising import check_grid, quantised
from llmc.compress.walk.block import BlockView, Pair
from llmc.compress.walk.inputs import as_float
from llmc.errors import UserError
from llmc.ops.grid import Grid, fit_grid
from llmc.ops.scaling import channel_scale, clip_to_best, mean_share, output_error, per_producer


@dataclass(frozen=True, kw_only=True)
class Balanced:
    """What the search found for one pair."""

    pair: str
    """The pair, as "producer -> consumer, consumer"."""
    alpha: float | None
    """The exponent of the scale that was applied. None: none did better than leaving the pair alone."""
    loss_ratio: float | None
    """The loss with that scale over the loss of plain rounding, at most 1. None: plain rounding loses nothing."""


@dataclass(frozen=True, kw_only=True)
class AWQ:
    """Scale each input channel up by how active it is, and its producer down, where rounding then hurts the block less.

    The scale of a pair is searched for the least squared change of its parent's output with all its consumers rounded,
    leaving the pair alone being one of the candidates: so the calibration loss of a pair is never above plain
    rounding's.

    Source: Lin et al. 2023, arXiv:2306.00978. Deviations: the identity is a candidate; v and o are paired under
    grouped-query attention, with one scale for all query heads of a group; clip and linear parents are judged by the
    Gram matrix, that is by all tokens; a channel that calibration never lit keeps scale 1.
    """

    name: ClassVar[str] = "awq"
    kind: ClassVar[Kind] = "quantisation"
    source: ClassVar[str] = "Lin et al. 2023, arXiv:2306.00978"
    needs: ClassVar[Needs] = Needs.GRAM

    bits: int = 4
    """Bits of a code: 2, 3, 4 or 8."""

    group_size: int = 128
    """Input columns of a row that share a scale; -1 for the whole row. It must divide the width."""

    symmetric: bool = True
    """Mirror the grid about zero; False fits a zero point too, as the awq format wants."""

    n_grid: int = 20
    """Exponents to try between 0 and 1."""

    duo: bool = True
    """Divide a channel's scale by how large its weights are already, not only multiply by how active it is."""

    clip: bool = True
    """Search each group for the clipping with the least output error; queries and keys are left whole."""

    def __post_init__(self) -> None:
        check_grid(self.bits, self.group_size)
        if self.n_grid < 1:
            raise UserError(f"n_grid must be at least 1, got {self.n_grid}", hint="20 is the usual choice")

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The weight, balanced and clipped before by `balance`, on its grids."""
        dense = as_float(weight, keep)
        grid = self._grid(dense, weight.dtype)
        return quantised(weight, grid.offsets(dense), grid, keep, group_size=self.group_size)

    def balance(self, block: BlockView) -> tuple[Balanced, ...]:
        """What was found for each pair, after the scales and the clipping have been applied to the block."""
        found = tuple(self._balance_pair(block, pair) for pair in block.pairs)
        if self.clip:
            for name in block.clippable:
                self._clip(block, name)
        return found

    def _balance_pair(self, block: BlockView, pair: Pair) -> Balanced:
        """Search the pair's scale and apply it."""
        weights = {name: as_float(block.weight(name)) for name in pair.consumers}
        stats = block.stats(pair.consumers[0])
        assert stats.abs_sum is not None
        activity = stats.abs_sum / max(stats.n_tokens, 1)
        share = mean_share(list(weights.values()), self.group_size) if self.duo else None
        loss = self._loss(block, pair, weights)
        width = next(iter(weights.values())).shape[-1]
        source = torch.arange(width, device=activity.device) if pair.source is None else pair.source
        plain = least = loss(torch.ones(width, device=activity.device))
        best: tuple[float, Tensor] | None = None
        for step in range(self.n_grid + 1):
            alpha = step / self.n_grid
            scale = per_producer(channel_scale(activity, alpha, share), source)
            trial = loss(scale[source])
            if trial < least:
                least, best = trial, (alpha, scale)
        if best is not None:
            block.rescale(pair, best[1])
        return Balanced(
            pair=f"{pair.producer} -> {', '.join(pair.consumers)}",
            alpha=None if best is None else best[0],
            loss_ratio=least / plain if plain > 0 and math.isfinite(plain) else None,
        )

    def _loss(self, block: BlockView, pair: Pair, weights: dict[str, Tensor]) -> Callable[[Tensor], float]:
        """A function of a scale (in,): the squared change of output with the consumers rounded under it."""
        if pair.parent is None:
            ((name, weight),) = weights.items()
            gram = block.stats(name).gram
            assert gram is not None
            dtype = block.weight(name).dtype
            return lambda scale: output_error(self._rounded(weight, scale, dtype) - weight, gram).item()
        parent = pair.parent
        whole = {name: block.weight(name).clone() for name in weights}
        wanted = block.parent_output(parent).float()

        def of_parent(scale: Tensor) -> float:
            for name, weight in weights.items():
                block.set_weight(name, self._rounded(weight, scale, whole[name].dtype).to(whole[name].dtype))
            try:
                return (block.parent_output(parent).float() - wanted).square().mean().item()
            finally:
                for name, weight in whole.items():
                    block.set_weight(name, weight)

        return of_parent

    def _rounded(self, weight: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """The weight as it comes back from its grid under a scale, in float32."""
        scaled = weight * scale
        grid = self._grid(scaled, dtype)
        return grid.values(grid.offsets(scaled)) / scale

    def _grid(self, weight: Tensor, dtype: torch.dtype) -> Grid:
        return fit_grid(weight, bits=self.bits, group_size=self.group_size, symmetric=self.symmetric, dtype=dtype)

    def _clip(self, block: BlockView, name: str) -> None:
        """Clip one layer's groups."""
        weight, gram = block.weight(name), block.stats(name).gram
        assert gram is not None
        clipped = clip_to_best(
            as_float(weight),
            gram,
            bits=self.bits,
            group_size=self.group_size,
            symmetric=self.symmetric,
            dtype=weight.dtype,
        )
        block.set_weight(name, clipped.to(weight.dtype))


METHOD = AWQ
