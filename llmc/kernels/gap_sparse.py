"""An unstructured sparse matrix as float16 values and 4-bit gaps: 2.5 bytes a stored value.

It pays for one or two rows of x only, where the time is the bytes; 4-bit codes of a dense matrix are fewer bytes than
this at any sparsity below about 80 % (`docs/kernels-gpu.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llmc.ops.bitmask import row_blocks

LANES = 32
PER_LANE = 8
BLOCK = LANES * PER_LANE
FARTHEST = 16
"""Columns that one stored entry can move on: a gap of 15 and the entry itself."""
ENTRY_BYTES = 2.5
"""Of a stored value and its gap."""


@dataclass(frozen=True, kw_only=True)
class GapSparse:
    """Rows of blocks of 256 entries; what fills a row's last block, or bridges a gap, is a stored zero."""

    values: Tensor
    """(blocks * 4 * LANES,) int32: two float16 a word."""
    gaps: Tensor
    """(blocks * LANES,) int32: eight gaps a word."""
    starts: Tensor
    """(out + 1,) int32, in blocks."""
    n_in: int
    reach: int
    """Columns that entries may point at: the padding of a last block lies beyond n_in."""

    @property
    def n_out(self) -> int:
        """The rows."""
        return len(self.starts) - 1

    @property
    def size_bytes(self) -> int:
        """What the tensors really take."""
        return sum(t.numel() * t.element_size() for t in (self.values, self.gaps, self.starts))

    def to(self, device: str | torch.device) -> GapSparse:
        """The same on another device."""
        return GapSparse(
            values=self.values.to(device),
            gaps=self.gaps.to(device),
            starts=self.starts.to(device),
            n_in=self.n_in,
            reach=self.reach,
        )


def encode(weight: Tensor) -> GapSparse:
    """The entries of `weight` that aren't 0 (nor -0), NaN and infinities included. Shapes: (out, in), as float16.

    A gap of 16 k + r columns is k stored zeros with gap 15, which bridge it, and then the entry with gap r. Some rows
    at a time, so that what is needed on the way doesn't grow with the matrix.
    """
    n_out, n_in = weight.shape
    values, gaps, blocks, reach = [], [], [torch.zeros(1, dtype=torch.int64)], n_in
    for rows in row_blocks(n_out, n_in):
        half = weight[rows].detach().cpu().to(torch.float16)
        of_rows, their_gaps, their_blocks, far = _entries(half)
        values.append(_in_lanes(of_rows))
        gaps.append(_eight_a_word(their_gaps))
        blocks.append(their_blocks)
        reach = max(reach, far)
    none = [torch.zeros(0, dtype=torch.int32)]
    return GapSparse(
        values=torch.cat(values or none),
        gaps=torch.cat(gaps or none),
        starts=torch.cat(blocks).cumsum(0).int(),
        n_in=n_in,
        reach=reach,
    )


def _entries(half: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Values and gaps of some rows, entry by entry, how many blocks each row has, and the columns that they reach."""
    rows, columns = half.nonzero(as_tuple=True)
    per_row = torch.bincount(rows, minlength=len(half))
    before = torch.diff(columns, prepend=columns.new_tensor([-1])) - 1
    filled, end = per_row > 0, per_row.cumsum(0)
    firsts = (end - per_row)[filled]
    before[firsts] = columns[firsts]  # the first of a row has no entry to its left
    stored = before // FARTHEST + 1  # the entry and its bridges
    n_stored = torch.zeros(len(half), dtype=torch.int64).index_add_(0, rows, stored)
    n_blocks = -(-n_stored // BLOCK)
    first_block = n_blocks.cumsum(0) - n_blocks
    within_row = stored.cumsum(0) - (n_stored.cumsum(0) - n_stored)[rows]
    at = first_block[rows] * BLOCK + within_row - 1
    values = torch.zeros(int(n_blocks.sum()) * BLOCK, dtype=torch.float16)
    values[at] = half[rows, columns]
    place = torch.arange(len(values)) - (first_block * BLOCK).repeat_interleave(n_blocks * BLOCK)
    bridged = place < n_stored.repeat_interleave(n_blocks * BLOCK)
    gaps = bridged * (FARTHEST - 1)
    gaps[at] = before % FARTHEST
    # The zeros that fill a row's last block move on one column each.
    reach = columns[end[filled] - 1] + 1 + (n_blocks * BLOCK - n_stored)[filled]
    return values, gaps, n_blocks, int(reach.max()) if len(reach) else 0


def _in_lanes(values: Tensor) -> Tensor:
    """Two values a word, plane by plane: pair p of lane l at word p * LANES + l of its block."""
    lanes = values.view(torch.int16).view(-1, LANES, 4, 2)
    return lanes.permute(0, 2, 1, 3).contiguous().view(torch.int32).reshape(-1)


def _eight_a_word(gaps: Tensor) -> Tensor:
    """Gaps (entries,) in [0, 15] as int32 words, the first in the lowest bits."""
    words = (gaps.view(-1, PER_LANE) << torch.arange(0, 32, 4)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def holds(weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether float16 values will do for `weight` (out, in) in a model that computes in `dtype`.

    No row may lose more of its norm than rounding loses: to float16 for a model in 16 bits, to float32 for one in
    float32. Weights of bfloat16 lose nothing from 2^-17 to 65504, and smaller ones little next to a row's others.
    """
    most = min(torch.finfo(dtype).eps, torch.finfo(torch.float16).eps) / 2
    for rows in row_blocks(*weight.shape):
        exact = weight[rows].double()
        lost = weight[rows].half().double() - exact
        if not bool((lost.norm(dim=1) <= most * exact.norm(dim=1)).all()):  # a NaN is no yes
            return False
    return True


def decode(weight: GapSparse, dtype: torch.dtype = torch.float16) -> Tensor:
    """The dense matrix, some rows at a time. Shapes: (out, in)."""
    device = weight.gaps.device
    dense = torch.zeros(weight.n_out, weight.n_in, dtype=dtype, device=device)
    starts = weight.starts.tolist()
    nibbles = torch.arange(0, 32, 4, dtype=torch.int32, device=device)
    for rows in row_blocks(weight.n_out, weight.n_in):
        blocks = slice(starts[rows.start], starts[rows.stop])
        gaps = ((weight.gaps.view(-1, LANES)[blocks].unsqueeze(-1) >> nibbles) & 15).view(-1)
        values = weight.values.view(-1, 4, LANES)[blocks].permute(0, 2, 1).reshape(-1).view(torch.float16)
        moved = (gaps + 1).cumsum(0)  # past this entry, from the first row's first column on
        first = (weight.starts[rows.start : rows.stop + 1].long() - blocks.start) * BLOCK
        before_row = torch.nn.functional.pad(moved, (1, 0))[first[:-1]]
        stored = (values != 0).nonzero().view(-1)  # no bridge, no padding
        row = torch.bucketize(stored, first[1:], right=True)
        dense[rows][row, moved[stored] - before_row[row] - 1] = values[stored].to(dtype)
    return dense


def matvec(x: Tensor, weight: GapSparse) -> Tensor:
    """x W^T for few rows of x, sums in float32. Shapes: x (rows, in) -> (rows, out), of x's dtype."""
    from llmc.kernels.sparse_triton import gap_matvec_kernel

    padded = torch.nn.functional.pad(x, (0, weight.reach - x.shape[1]))
    out = torch.empty(len(x), weight.n_out, dtype=x.dtype, device=x.device)
    gap_matvec_kernel[(weight.n_out, len(x))](
        padded, weight.values, weight.gaps, weight.starts, out, weight.n_out, padded.stride(0),
        LANES=LANES, STAGES=1, num_warps=1,
    )  # fmt: skip
    return out


def written_out(weight: GapSparse, dtype: torch.dtype) -> Tensor:
    """`decode` in one launch. Shapes: (out, in)."""
    from llmc.kernels.sparse_triton import gap_dense_kernel

    out = torch.zeros(weight.n_out, weight.n_in, dtype=dtype, device=weight.gaps.device)
    gap_dense_kernel[(weight.n_out,)](
        weight.values, weight.gaps, weight.starts, out, weight.n_in, LANES=LANES, STAGES=1, num_warps=1,
    )  # fmt: skip
    return out
