"""What every quantising method shares: its settings' checks and the result."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.compress.method import Compressed, Quantised
from llmc.errors import UserError
from llmc.ops.bits import grid_bits, pruned_bits
from llmc.ops.grid import Grid
from llmc.ops.masks import Pattern

BITS = (2, 3, 4, 8)


def check_grid(bits: int, group_size: int) -> None:
    """`UserError` unless the bits are 2, 3, 4 or 8 and the group size is -1 or at least 1."""
    if bits not in BITS:
        raise UserError(f"bits must be one of 2, 3, 4 and 8, got {bits}", hint="4 is the usual choice")
    if group_size != -1 and group_size < 1:
        raise UserError(
            f"group_size must be -1 or a number of columns, got {group_size}", hint="-1 means one group per row"
        )


def quantised(
    weight: Tensor,
    offsets: Tensor,
    grid: Grid,
    keep: Tensor | None,
    *,
    group_size: int,
    pattern: Pattern | None = None,
    damping: float | None = None,
    warnings: tuple[str, ...] = (),
) -> Compressed:
    """The result with the given (code - zero) on a grid; what `keep` marks as pruned has offset 0, so it is exactly 0.

    Shapes: weight, offsets, keep (out, in). Only the dtype and shape of `weight` are read.
    """
    value_bits = 8 * weight.element_size()
    density = 1.0 if keep is None else keep.float().mean().item()
    grids = grid_bits(grid.group_size, value_bits, 0 if grid.symmetric else grid.bits)
    return Compressed(
        weight=grid.values(offsets).to(weight.dtype),
        bits_per_weight=pruned_bits(density, grid.bits, pattern) + grids,
        keep=keep,
        quantised=Quantised(
            codes=grid.codes(offsets),
            scale=grid.scale,
            zero=grid.zero.to(torch.uint8),
            bits=grid.bits,
            group_size=group_size,
            symmetric=grid.symmetric,
        ),
        damping=damping,
        warnings=warnings,
    )
