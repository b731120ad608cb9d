"""Integer grids: real = (code - zero) * scale, one scale and zero for a row's group of input columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmc.errors import UserError

N_SHRINKS = {2: 13, 3: 13, 4: 10, 8: 4}
"""How many ranges the search tries for each number of bits: 1, 0.95, … of the full one, down to 0.4 for 2 bits.

A row of thousands of normal weights is best rounded at about 0.4 of its range in 2 bits, 0.6 in 3, 0.7 in 4.
"""

CHUNK = 1 << 17
"""Weights that the search handles at a time: its temporaries then stay in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An affine integer grid for each group of input columns; it always contains real 0, exactly.

    Shapes: scale, zero (out, groups) float32; zero holds whole numbers.
    Range:  codes and zero in [0, 2**bits - 1]; zero is 2**(bits - 1) everywhere if symmetric.
    """

    scale: Tensor
    zero: Tensor
    bits: int
    group_size: int
    """Columns in a group, never -1."""
    symmetric: bool

    @property
    def lowest(self) -> Tensor:
        """The least (code - zero) of each group; the greatest is 2**bits - 1 more."""
        return -self.zero

    def offsets(self, weight: Tensor) -> Tensor:
        """The nearest (code - zero) for each weight. Shapes: (out, in) -> (out, in) float32, whole numbers."""
        snapped = (by_group(weight.float(), self.group_size) / self.scale.unsqueeze(-1)).round_()
        return clamp_(snapped, self.lowest.unsqueeze(-1), self.bits, symmetric=self.symmetric).flatten(-2)

    def values(self, offsets: Tensor) -> Tensor:
        """The real numbers that (code - zero) stands for. Shapes: (out, in) -> (out, in) float32."""
        grouped = by_group(offsets, self.group_size) + 0.0  # -0 becomes 0, as it is when read from codes
        return (grouped * self.scale.unsqueeze(-1)).flatten(-2)

    def codes(self, offsets: Tensor) -> Tensor:
        """The codes that are stored. Shapes: (out, in) -> (out, in) uint8."""
        return (by_group(offsets, self.group_size) + self.zero.unsqueeze(-1)).flatten(-2).to(torch.uint8)


def by_group(matrix: Tensor, group_size: int) -> Tensor:
    """The columns of `matrix` split into groups. Shapes: (out, in) -> (out, groups, group_size)."""
    return matrix.reshape(len(matrix), -1, group_size)


def clamp_(offsets: Tensor, lowest: Tensor, bits: int, *, symmetric: bool) -> Tensor:
    """Limits (code - zero) to what the grid has, in place. Shapes: `lowest` broadcasts with `offsets`."""
    if symmetric:  # the same limits everywhere: a clamp by two numbers takes a fraction of one by two tensors
        return offsets.clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return offsets.clamp_(lowest, lowest + (2**bits - 1))


def columns_per_group(width: int, group_size: int) -> int:
    """The number of columns in a group, for -1 the whole width; a `UserError` when groups don't fill the width."""
    if group_size == -1:
        return width
    if width % group_size:
        divisor = math.gcd(width, group_size)
        hint = f"use a group size that divides {width}, e.g. {divisor}, or -1 for one group per row"
        if divisor < 8:
            hint = f"{width} has no common divisor with {group_size} worth using; use -1 for one group per row"
        raise UserError(f"{width} input columns do not split into groups of {group_size}", hint=hint)
    return group_size


def fit_grid(
    weight: Tensor,
    *,
    bits: int,
    group_size: int,
    symmetric: bool,
    dtype: torch.dtype = torch.float32,
    search: bool = False,
    shrink: Tensor | None = None,
) -> Grid:
    """The grid that spans each group's weights, 0 included, with scales that `dtype` holds exactly.

    `search` takes instead, per group, the narrower range with the least sum of squared errors; `shrink`
    (out, groups) says the ranges outright, as fractions of the full one. An all-zero group has scale 1.

    Shapes: weight (out, in). A checkpoint stores scales in the model's dtype: so they are rounded first.
    Source: Frantar et al. 2022, arXiv:2210.17323, and its published quantiser. Deviations: a symmetric grid is
    mirrored for a group without negative weights too, where the published one would cut off its upper half; the
    search has 13 ranges at most and squared errors, not 80 and an exponent of 2.4, which makes the outputs no worse.
    """
    size = columns_per_group(weight.shape[-1], group_size)
    grouped = by_group(weight.float(), size)
    low, high = grouped.amin(-1).clamp_(max=0), grouped.amax(-1).clamp_(min=0)
    if symmetric:
        high = torch.maximum(high, -low)
        low = -high
    if search:
        shrink = _best_shrink(grouped, low, high, bits, symmetric, dtype)
    if shrink is not None:
        low, high = low * shrink, high * shrink
    scale, zero = _scale_and_zero(low, high, bits, symmetric, dtype)
    return Grid(scale=scale, zero=zero, bits=bits, group_size=size, symmetric=symmetric)


def _scale_and_zero(low: Tensor, high: Tensor, bits: int, symmetric: bool, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Scale and zero of grids over [low, high], the scale rounded to `dtype`. Shapes: all alike."""
    scale = (high - low) / (2**bits - 1)
    least = torch.finfo(dtype).tiny
    if dtype == torch.float16:
        least *= torch.finfo(dtype).eps  # 6e-8, the least fp16 above 0: a real scale may be below fp16's normal range
    scale = torch.where(high > low, scale.clamp(min=least), 1.0).to(dtype).float()
    if symmetric:
        return scale, torch.full_like(scale, 2 ** (bits - 1))
    return scale, (-low / scale).round_().clamp_(0, 2**bits - 1)


def _best_shrink(grouped: Tensor, low: Tensor, high: Tensor, bits: int, symmetric: bool, dtype: torch.dtype) -> Tensor:
    """Of the ranges to try, for each group the one with the least sum of squared errors, the widest of equals.

    Shapes: grouped (out, groups, size); low, high and the result (out, groups).
    """
    rows = max(1, CHUNK // grouped[0].numel())
    best = torch.ones_like(low)
    for start in range(0, len(grouped), rows):
        part = slice(start, start + rows)
        exact, snapped = torch.empty_like(grouped[part]), torch.empty_like(grouped[part])
        least = torch.full_like(low[part], math.inf)
        for step in range(N_SHRINKS[bits]):
            shrink = 1 - step / 20
            scale, zero = _scale_and_zero(low[part] * shrink, high[part] * shrink, bits, symmetric, dtype)
            torch.div(grouped[part], scale.unsqueeze(-1), out=exact)
            torch.round(exact, out=snapped)
            clamp_(snapped, -zero.unsqueeze(-1), bits, symmetric=symmetric)
            cost = exact.sub_(snapped).square_().sum(-1).mul_(scale.square())
            better = cost < least
            least = torch.where(better, cost, least)
            best[part] = torch.where(better, shrink, best[part])
    return best
