"""A matrix with many zeros as what isn't zero and a bit a weight, and back: in a loop over blocks, none over weights.

Two of four takes what a format of its own would: four bits a group of four say which two positions are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BLOCK = 1 << 18
"""Weights that are unpacked at a time: their positions, 8 bytes each, about fill a core's second cache."""
BLOCKS_ANYWHERE = 64
"""Blocks at a time on other devices, where each is some launches and its positions take 8 bytes a weight."""
_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""What the bits of a weight are looked at as, by its bytes."""


@dataclass(frozen=True, kw_only=True)
class Bitmask:
    """The weights whose bits aren't all 0, row after row. A -0.0, whose sign is a bit, is kept like any other.

    Shapes: values (kept,) of a dtype of 2, 4 or 8 bytes; mask (out, ceil(in / 8)) uint8, whose bit k of byte j stands
    for column 8 j + k.
    """

    values: Tensor
    mask: Tensor
    n_in: int

    @classmethod
    def of(cls, weight: Tensor) -> Bitmask:
        """The matrix `weight` (out, in), on the CPU."""
        bits = words(weight.contiguous()).numpy()
        kept = bits != 0
        values = torch.from_numpy(bits.reshape(-1)[np.flatnonzero(kept)]).view(weight.dtype)
        mask = torch.from_numpy(np.packbits(kept, axis=1, bitorder="little"))
        return cls(values=values, mask=mask, n_in=weight.shape[1])

    @staticmethod
    def bytes_of(weight: Tensor, kept: int) -> int:
        """What `weight` (out, in) with `kept` weights that aren't zero takes in this form."""
        return kept * weight.element_size() + len(weight) * -(-weight.shape[1] // 8)

    def starts(self) -> list[int]:
        """Where in `values` each block of rows begins, and where the last one ends."""
        blocks = row_blocks(len(self.mask), self.n_in)
        per_block = [int(np.unpackbits(self.mask[rows].numpy()).sum()) for rows in blocks]
        return [0, *np.cumsum(per_block).tolist()]


def n_kept(weight: Tensor) -> int:
    """How many weights have bits that aren't all 0."""
    return int(np.count_nonzero(words(weight.contiguous()).numpy()))


def words(weight: Tensor) -> Tensor:
    """The bits of the weights as whole numbers, without a copy. Raises `ValueError` for a dtype of 1 byte."""
    if weight.element_size() not in _WORDS:
        raise ValueError(f"weights of {weight.dtype} have no bitmask here")
    return weight.view(_WORDS[weight.element_size()])


def row_blocks(rows: int, columns: int) -> list[slice]:
    """The rows of a matrix in blocks of about `BLOCK` weights."""
    step = max(1, BLOCK // max(1, columns))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def unpack(
    values: Tensor, mask: Tensor, n_in: int, starts: list[int], dtype: torch.dtype, into: Tensor | None = None
) -> Tensor:
    """The dense matrix (out, in) in `dtype`, on the device of `values`; `starts` is what `Bitmask.starts` gives.

    It is made in the memory of `into` (out, in), of that dtype and device, if that is given.
    """
    dense = torch.empty((len(mask), n_in), dtype=dtype, device=values.device) if into is None else into
    fill_, at_once = _WAYS.get(values.device.type, (fill_anywhere_, BLOCKS_ANYWHERE))
    blocks = row_blocks(len(mask), n_in)
    for first in range(0, len(blocks), at_once):
        last = min(first + at_once, len(blocks))
        rows = slice(blocks[first].start, blocks[last - 1].stop)
        dense[rows] = 0  # block by block, which is then still in the cache
        fill_(dense[rows], values[starts[first] : starts[last]].to(dtype), mask[rows])
    return dense


def _fill_on_cpu_(dense: Tensor, kept: Tensor, mask: Tensor) -> None:
    """Puts `kept` where `mask` has a bit: a search for positions and one write to them.

    It takes a fifth of the time of torch's masked_scatter_. On one thread: Python threads over the blocks were slower.
    """
    bits = np.unpackbits(mask.numpy(), axis=1, count=dense.shape[1], bitorder="little").view(np.bool_).reshape(-1)
    if len(kept) <= bits.size // 8:
        # numpy searches where at most a tenth is True in another way, which takes three times as long: so it gets more.
        bits = np.concatenate([bits, np.ones(bits.size // 8 + 1, dtype=np.bool_)])
    words(dense).view(-1).numpy()[np.flatnonzero(bits)[: len(kept)]] = words(kept).numpy()


def fill_anywhere_(dense: Tensor, kept: Tensor, mask: Tensor) -> None:
    """The same on any device. Shapes: dense (rows, in), all 0; kept (n,); mask (rows, ceil(in / 8)) uint8."""
    shifts = torch.arange(8, device=mask.device, dtype=torch.uint8)
    bits = (mask.unsqueeze(-1) >> shifts & 1).flatten(1)[:, : dense.shape[1]]
    dense.masked_scatter_(bits.bool(), kept)


_WAYS = {"cpu": (_fill_on_cpu_, 1)}
"""By the type of a device, what fills in zeros there and how many blocks at a time."""
