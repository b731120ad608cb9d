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
    """The entries of `weight` that aren't 0 (nor -0), NaN and infinities included. Shapes: (out, in), as float16."""
    half = weight.detach().cpu().to(torch.float16)
    coded = [_row(row) for row in half]
    n_blocks = torch.tensor([len(values) // BLOCK for values, _ in coded])
    starts = torch.zeros(len(coded) + 1, dtype=torch.int32)
    starts[1:] = n_blocks.cumsum(0)
    reach = max([int((gaps.long() + 1).sum()) for _, gaps in coded], default=0)
    values = torch.cat([v for v, _ in coded]).view(torch.int16).view(-1, LANES, 4, 2)
    gaps = torch.cat([g for _, g in coded]).view(-1, LANES, PER_LANE)
    shifts = torch.arange(0, 32, 4)
    words = (gaps.long() << shifts).sum(-1)
    return GapSparse(
        values=values.permute(0, 2, 1, 3).contiguous().view(torch.int32).reshape(-1),
        gaps=torch.where(words >= 2**31, words - 2**32, words).int().view(-1),
        starts=starts,
        n_in=weight.shape[1],
        reach=max(reach, weight.shape[1]),
    )


def _row(row: Tensor) -> tuple[Tensor, Tensor]:
    """A row's values and gaps, in whole blocks; a gap of 16 k + r becomes k stored zeros with gap 15, then gap r."""
    columns = (row != 0).nonzero().squeeze(1)
    before = torch.diff(columns, prepend=torch.tensor([-1])) - 1
    bridges = before // FARTHEST
    at = torch.arange(len(columns)) + bridges.cumsum(0)
    n = int(at[-1]) + 1 if len(columns) else 0
    padded = -(-n // BLOCK) * BLOCK
    values = torch.zeros(padded, dtype=torch.float16)
    gaps = torch.zeros(padded, dtype=torch.uint8)
    gaps[:n] = FARTHEST - 1
    values[at] = row[columns]
    gaps[at] = (before % FARTHEST).to(torch.uint8)
    return values, gaps


def decode(weight: GapSparse) -> Tensor:
    """The dense matrix. Shapes: (out, in) float16."""
    shifts = torch.arange(0, 32, 4, device=weight.gaps.device)
    gaps = ((weight.gaps.view(-1, LANES, 1) >> shifts) & 15).view(-1)
    values = weight.values.view(-1, 4, LANES).permute(0, 2, 1).contiguous().view(torch.int16).view(torch.float16)
    values = values.reshape(-1)
    dense = torch.zeros(weight.n_out, max(weight.reach, weight.n_in), dtype=torch.float16, device=values.device)
    for row in range(weight.n_out):
        span = slice(int(weight.starts[row]) * BLOCK, int(weight.starts[row + 1]) * BLOCK)
        columns = (gaps[span].long() + 1).cumsum(0) - 1
        stored = values[span] != 0
        dense[row, columns[stored]] = values[span][stored]
    return dense[:, : weight.n_in].contiguous()


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
