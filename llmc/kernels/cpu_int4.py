"""PyTorch's packed 4-bit product on x86 CPUs, behind guards: what it can't compute it would compute wrongly or slowly.

The packed layout depends on the CPU's vector width, so weights are packed when a model is loaded and never stored.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from llmc.errors import UserError

GROUP_SIZES = (256, 128, 64, 32)
"""Columns a group may have."""
ROWS = 64
"""Outputs are filled up to a multiple of this: then every block has the same layout, on AVX2 and AVX-512."""


class Layout(NamedTuple):
    """How codes lie in packed bytes: blocks of `block` outputs, in each the inputs in order, a byte for two outputs."""

    block: int
    low: slice
    """The outputs of a block whose codes are the low halves of its bytes."""
    high: slice


def pack(codes: Tensor) -> Tensor:
    """Codes in this machine's order. Shapes: codes (out, in) uint8 in [0, 15]; result (out, in / 2) uint8.

    Raises `UserError` unless 64 divides the outputs and 2 the inputs.
    """
    rows, columns = codes.shape
    if rows % ROWS or columns % 2:
        raise UserError(
            f"the 4-bit product packs {ROWS} outputs and 2 inputs at a time, and this matrix has {rows} x {columns}",
            hint="fill it up with rows of zero scale",
        )
    packed: Tensor = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.to(torch.int32), 1)
    return packed


def product(x: Tensor, packed: Tensor, group_size: int, grid: Tensor) -> Tensor:
    """x W^T with W = (codes - 8) * scale + zero, in bfloat16 with float32 sums.

    Shapes: x (n, in) bfloat16; packed (out, in / 2); grid (in / group_size, out, 2) bfloat16: scale and zero.
    Raises `UserError` for other dtypes, which run a path 50 times as slow, and for groups that it can't take.
    """
    columns = packed.shape[1] * 2
    if x.dtype != torch.bfloat16 or grid.dtype != torch.bfloat16:
        raise UserError(f"the 4-bit product computes in bfloat16, got {x.dtype} and {grid.dtype}")
    if group_size not in GROUP_SIZES or columns % group_size or x.shape[1] != columns:
        raise UserError(
            f"the 4-bit product takes groups of 32, 64, 128 or 256 that divide the inputs, got {group_size} "
            f"for {columns} inputs and activations of {x.shape[1]}"
        )
    found: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x.contiguous(), packed, group_size, grid)
    return found


def unpack(packed: Tensor, outputs: slice, layout: Layout) -> Tensor:
    """The codes of some outputs, whose edges the layout's block divides.

    Shapes: result (in, outputs) uint8: the packed bytes have the inputs outside, and turning bytes around is slow.
    """
    columns = packed.shape[1] * 2
    blocks = packed.view(-1, columns, layout.block // 2)[outputs.start // layout.block : outputs.stop // layout.block]
    blocks = blocks.transpose(0, 1)
    codes = torch.empty((columns, blocks.shape[1], layout.block), dtype=torch.uint8)
    codes[:, :, layout.low] = blocks & 15
    codes[:, :, layout.high] = blocks >> 4
    return codes.view(columns, -1)


@functools.cache
def layout() -> Layout | None:
    """This machine's layout, found by packing known codes; None for one that isn't of the known kind."""
    rows, columns = 2 * ROWS, 4
    index = torch.arange(rows * columns).view(rows, columns)
    low = torch.zeros(rows * columns // 2, dtype=torch.int64)
    high = torch.zeros_like(low)
    for digit in range(3):  # 512 places are told apart by three digits of base 16
        packed = pack((index >> 4 * digit & 15).to(torch.uint8)).flatten()
        low |= (packed & 15).long() << 4 * digit
        high |= (packed >> 4).long() << 4 * digit
    for block in (64, 32, 16):
        shape = (rows // block, columns, block // 2)
        found = _runs(low.view(shape), block, columns), _runs(high.view(shape), block, columns)
        if found[0] is not None and found[1] is not None:
            return Layout(block, found[0], found[1])
    return None


def _runs(index: Tensor, block: int, columns: int) -> slice | None:
    """The outputs of a block that this half of its bytes holds, if they are evenly spaced and alike in all bytes."""
    outputs = index // columns - torch.arange(len(index)).view(-1, 1, 1) * block
    inputs = index % columns
    first = outputs[0, 0]
    step = int(first[1] - first[0])
    spaced = step > 0 and torch.equal(first, int(first[0]) + step * torch.arange(len(first)))
    alike = bool((outputs == first).all()) and bool((inputs == torch.arange(columns).view(1, -1, 1)).all())
    return slice(int(first[0]), int(first[-1]) + 1, step) if spaced and alike else None
