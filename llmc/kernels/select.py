"""Which weights to keep, by kernels: the same choice as `llmc.ops.masks` makes, count and ties included."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.ops.masks import Pattern, check_divides, n_drop

WIDEST_ROW = 16384
"""A row that lies in one program's registers; wider ones take the block's way."""
DIGITS = ((21, 11), (10, 11), (0, 10))
"""(shift, bits) of the digits that three passes over a block count."""
BLOCK = 4096


def drop_lowest(score: Tensor, sparsity: float, *, cost: Tensor | None = None) -> Tensor:
    """True where a score is kept: exactly `n_drop` of each row go, of equals the lowest index first.

    With `cost` (width,), `score` is a weight and |weight| * cost, in float32, is the score (Wanda's, for example).
    Shapes: score (rows, width) of finite numbers, any float -> keep (rows, width) bool.
    """
    from llmc.kernels.select_triton import lowest_kernel

    width = score.shape[-1]
    rows = score.reshape(-1, width)
    if width > WIDEST_ROW:
        whole = rows.float() if cost is None else rows.float().abs() * cost.float()
        return torch.stack([drop_lowest_of_all(row, sparsity) for row in whole]).view(score.shape)
    keep = torch.empty(rows.shape, dtype=torch.uint8, device=score.device)
    rows = rows if rows.stride(-1) == 1 else rows.contiguous()
    block = 1 << max(0, width - 1).bit_length()
    lowest_kernel[(len(rows),)](
        rows, score if cost is None else cost, keep, width, n_drop(width, sparsity), rows.stride(0),
        HAS_COST=cost is not None, BK=block, num_warps=min(16, max(1, block // 1024)),
    )  # fmt: skip
    return keep.bool().view(score.shape)


def keep_n_of_m(score: Tensor, pattern: Pattern, *, cost: Tensor | None = None) -> Tensor:
    """True for the `pattern.keep` highest of every `pattern.of` neighbours; of equals the lowest index is dropped.

    Shapes: score (rows, width), width a multiple of M, M a power of two -> keep, bool. `cost` as in `drop_lowest`.
    """
    from llmc.kernels.select_triton import n_of_m_kernel

    check_divides(score.shape[-1], pattern)
    if pattern.of & (pattern.of - 1):
        raise UserError(f"the kernel takes N of 2, 4, 8, …, not of {pattern.of}", hint="use llmc.ops.masks.keep_n_of_m")
    values = score.contiguous()
    keep = torch.empty(values.shape, dtype=torch.uint8, device=score.device)
    n_groups = values.numel() // pattern.of
    block = max(32, 1024 // pattern.of)
    n_of_m_kernel[(-(-n_groups // block),)](
        values, values if cost is None else cost, keep, n_groups, score.shape[-1],
        HAS_COST=cost is not None, KEEP=pattern.keep, OF=pattern.of, BLOCK=block, num_warps=4,
    )  # fmt: skip
    return keep.bool()


def drop_lowest_of_all(score: Tensor, sparsity: float) -> Tensor:
    """True where a score is kept: exactly `n_drop` of all of them go, of equals the first. Shapes: any -> the same.

    Three counts of digits find the threshold, one pass marks; nothing waits for the host.
    """
    from llmc.kernels.select_triton import block_edge_kernel, count_edge_kernel, histogram_kernel

    flat = score.reshape(-1).contiguous()
    n, device = flat.numel(), flat.device
    wanted = n_drop(n, sparsity)
    keep = torch.ones(n, dtype=torch.uint8, device=device)
    if wanted == 0:
        return keep.bool().view(score.shape)
    grid = (-(-n // BLOCK),)
    prefix = torch.zeros((), dtype=torch.int64, device=device)
    room = torch.full((), wanted, dtype=torch.int64, device=device)
    for shift, bits in DIGITS:
        counts = torch.zeros(1 << bits, dtype=torch.int32, device=device)
        histogram_kernel[grid](
            flat, counts, n, prefix, SHIFT=shift, BINS=1 << bits, PREFIX_SHIFT=shift + bits, BLOCK=BLOCK
        )
        until = counts.to(torch.int64).cumsum(0)
        digit = (until < room).sum()  # the first digit by which enough have been counted
        room = room - torch.where(digit > 0, until[(digit - 1).clamp(min=0)], 0)
        prefix = (prefix << bits) | digit
    edge = torch.stack([prefix, room])
    tied = torch.empty(grid[0], dtype=torch.int64, device=device)
    count_edge_kernel[grid](flat, tied, edge, n, BLOCK=BLOCK)
    block_edge_kernel[grid](flat, keep, tied.cumsum(0) - tied, edge, n, BLOCK=BLOCK)
    return keep.bool().view(score.shape)
