"""A weight as integer codes on affine grids, as any file format gives it, and the numbers that it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 1 << 19
"""Weights that are unpacked at a time: the temporaries stay in a core's cache, which is 2 to 3 times as fast."""


@dataclass(frozen=True, kw_only=True)
class Codes:
    """weight[i, j] = (codes[i, j] - zero[i, g]) * scale[i, g], with g the group of input column j.

    Shapes: codes (out, in) uint8; scale (out, groups) in the dtype of its file; zero (out, groups) uint8;
    group (in,) int64 where an act-order quantiser dealt columns to groups as it liked, else None: then the columns
    lie in equal runs, group after group.
    Range: codes and zero in [0, 2**bits - 1].
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    group: Tensor | None = None

    @property
    def group_size(self) -> int:
        """Columns in a group, never -1; where `group` is given, their mean number."""
        return self.codes.shape[1] // self.scale.shape[1]

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is the middle of the codes."""
        return bool((self.zero == 2 ** (self.bits - 1)).all())

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in), with one rounding to `dtype` at the end."""
        weight = torch.empty(self.codes.shape, dtype=dtype, device=self.codes.device)
        for rows in row_blocks(*self.codes.shape):
            fill_values_(
                weight[rows], self.codes[rows].clone(), self.scale[rows], self.zero[rows], self.bits, self.group
            )
        return weight

    def regrouped(self) -> tuple[Codes, Tensor | None]:
        """The same weight with its columns in the order of their groups, and that order (None: they were in it).

        Raises `ValueError` when groups differ in size, which no equal runs can tell.
        """
        if self.group is None:
            return self, None
        sizes = torch.bincount(self.group, minlength=self.scale.shape[1])
        if int(sizes.min()) != int(sizes.max()):
            raise ValueError(f"groups of {int(sizes.min())} to {int(sizes.max())} columns")
        order = self.group.argsort(stable=True)
        return Codes(codes=self.codes[:, order], scale=self.scale, zero=self.zero, bits=self.bits), order


def row_blocks(rows: int, columns: int) -> list[slice]:
    """The rows of a matrix in blocks of about `BLOCK` weights."""
    step = max(1, BLOCK // max(1, columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def fill_values_(
    weight: Tensor, codes: Tensor, scale: Tensor, zero: Tensor | None, bits: int, group: Tensor | None
) -> None:
    """Fills `weight` with what codes on grids stand for: computed in float32, rounded once.

    Shapes: weight, codes (rows, in); scale, zero (rows, groups), zero None: 2**(bits - 1) everywhere. `codes` is
    overwritten.
    """
    if group is not None:
        scale = scale.index_select(1, group)
        zero = None if zero is None else zero.index_select(1, group)
    n_groups = scale.shape[1]
    grouped = codes.view(len(codes), n_groups, -1)
    middle = 2 ** (bits - 1)
    exact = weight.dtype == torch.float32 and weight.is_contiguous()
    values = weight.view(grouped.shape) if exact else torch.empty(grouped.shape, device=codes.device)
    if bits == 8 and zero is not None:  # the difference of two bytes doesn't fit one
        values.copy_(grouped).sub_(zero.unsqueeze(-1))
    else:  # a byte's difference wraps to the right int8: a quarter of float32's traffic
        values.copy_(grouped.sub_(middle if zero is None else zero.unsqueeze(-1)).view(torch.int8))
    values.mul_(scale.float().unsqueeze(-1))
    if not exact:
        weight.copy_(values.view(weight.shape))
