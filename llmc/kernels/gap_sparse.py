"""An unstructured sparse matrix as float16 values and 4-bit gaps: 2.5 bytes a stored value.

It pays for one or two rows of x only, where the time is the bytes; 4-bit codes of a dense matrix are fewer bytes than
this at any sparsity below about 80 % (`docs/kernels-gpu.md`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LANES = 32
PER_LANE = 8
BLOCK = LANES * PER_LANE
FARTHEST = 16
"""Columns that one stored entry can move on: a gap of 15 and the entry itself."""


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

    A gap of 16 k + r columns is k stored zeros with gap 15, which bridge it, and then the entry with gap r.
    """
    half = weight.detach().cpu().to(torch.float16)
    rows, columns = half.nonzero(as_tuple=True)
    n_out, n_in = half.shape
    per_row = torch.bincount(rows, minlength=n_out)
    before = torch.diff(columns, prepend=columns.new_tensor([-1])) - 1
    filled, end = per_row > 0, per_row.cumsum(0)
    firsts = (end - per_row)[filled]
    before[firsts] = columns[firsts]  # the first of a row has no entry to its left
    stored = before // FARTHEST + 1  # the entry and its bridges
    n_stored = torch.zeros(n_out, dtype=torch.int64).index_add_(0, rows, stored)
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
    return GapSparse(
        values=_in_lanes(values),
        gaps=_eight_a_word(gaps),
        starts=torch.cat([first_block, n_blocks.sum().view(1)]).int(),
        n_in=n_in,
        reach=max(int(reach.max()), n_in) if len(reach) else n_in,
    )


def _in_lanes(values: Tensor) -> Tensor:
    """Two values a word, plane by plane: pair p of lane l at word p * LANES + l of its block."""
    lanes = values.view(torch.int16).view(-1, LANES, 4, 2)
    return lanes.permute(0, 2, 1, 3).contiguous().view(torch.int32).reshape(-1)


def _eight_a_word(gaps: Tensor) -> Tensor:
    """Gaps (entries,) in [0, 15] as int32 words, the first in the lowest bits."""
    words = (gaps.view(-1, PER_LANE) << torch.arange(0, 32, 4)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


def decode(weight: GapSparse) -> Tensor:
    """The dense matrix. Shapes: (out, in) float16."""
    device = weight.gaps.device
    gaps = ((weight.gaps.view(-1, 1) >> torch.arange(0, 32, 4, device=device)) & 15).view(-1)
    values = weight.values.view(-1, 4, LANES).permute(0, 2, 1).reshape(-1).view(torch.float16)
    n_entries = torch.diff(weight.starts.long()) * BLOCK
    rows = torch.arange(weight.n_out, device=device).repeat_interleave(n_entries)
    moved = (gaps.long() + 1).cumsum(0)
    before_row = torch.nn.functional.pad(moved, (1, 0))[weight.starts[:-1].long() * BLOCK]
    columns = moved - before_row[rows] - 1
    stored = values != 0
    dense = torch.zeros(weight.n_out, weight.n_in, dtype=torch.float16, device=device)
    dense[rows[stored], columns[stored]] = values[stored]
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
