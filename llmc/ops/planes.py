"""Codes of 1 to 8 bits in whole bytes, plane by plane, so that unpacking is a few shifts of contiguous runs.

The storage of codes in memory; files have orders of their own (`llmc.ops.packing`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def plane_widths(bits: int) -> tuple[int, ...]:
    """The powers of two that `bits` is the sum of, largest first: 3 is 2 + 1, so no bit is wasted."""
    if not 1 <= bits <= 8:
        raise ValueError(f"bits={bits}: a code has 1 to 8 bits")
    return tuple(width for width in (8, 4, 2, 1) if bits & width)


def row_bytes(n_codes: int, bits: int) -> int:
    """The bytes that a row of `n_codes` codes takes: exactly bits / 8 a code where 8 divides `n_codes`."""
    return sum(-(-n_codes * width // 8) for width in plane_widths(bits))


def pack_planes(codes: Tensor, bits: int) -> Tensor:
    """Each row's codes as one plane a width, lowest bits of the code in the first (widest) plane.

    A plane of width w cuts the row into 8 / w equal runs; byte j holds entry j of every run, the first run lowest.
    Shapes: codes (rows, n) uint8, each in [0, 2**bits - 1]; result (rows, row_bytes(n, bits)) uint8.
    """
    rows, n = codes.shape
    packed = torch.zeros((rows, row_bytes(n, bits)), dtype=torch.uint8, device=codes.device)
    start = shift = 0
    for width in plane_widths(bits):
        size = -(-n * width // 8)
        plane = packed[:, start : start + size]
        for run in range(8 // width):
            part = codes[:, run * size : (run + 1) * size] >> shift & (2**width - 1)
            plane[:, : part.shape[1]] |= part << (run * width)
        start, shift = start + size, shift + width
    return packed


def unpack_planes(packed: Tensor, bits: int, n_codes: int) -> Tensor:
    """The codes that `pack_planes` packed. Shapes: packed (rows, row_bytes(n, bits)); result (rows, n) uint8."""
    codes = torch.empty((len(packed), n_codes), dtype=torch.uint8, device=packed.device)
    start = shift = 0
    for width in plane_widths(bits):
        size = -(-n_codes * width // 8)
        plane = packed[:, start : start + size]
        for run in range(8 // width):
            into = codes[:, run * size : (run + 1) * size]
            part = plane[:, : into.shape[1]]
            # A uint8 shift drops what leaves the byte, so the highest run needs no mask.
            part = part >> (run * width) if run else part
            if run + 1 < 8 // width:
                part = part & (2**width - 1)
            if shift:
                into |= part << shift
            else:
                into.copy_(part)
        start, shift = start + size, shift + width
    return codes
