"""Linear layers on a CPU that compute with packed codes, in bfloat16: nothing is unpacked for a few rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from llmc.kernels import cpu_int4, cpu_int8
from llmc.ops.codes import Codes

MANY_ROWS = 80
"""From here on unpacking to bfloat16 and one plain product is faster than the packed product, which works row by row.

Measured at 2048 x 2048 on one Zen 5 thread, 64 rows: packed 3.3 ms, plain 1.5 ms and unpacking 1.8 ms.
"""
MANY_ROWS_INT8 = 40
"""The same for the 8-bit product: packed 3.2 ms, unpacking 1.0 ms."""
WEIGHTS_AT_A_TIME = 1 << 20
"""Weights that are unpacked together, so that no dense matrix is ever whole: with more, what is in between leaves the
caches (2048 x 7168 in 8 bits and 512 rows: 61 ms, and 79 with 7 times as many)."""


class Int4Part(nn.Module):
    """(codes - 8) * scale + offset, group by group, as 4-bit codes. One or two of these make a weight.

    Buffers: packed (out, in / 2) uint8 in the machine's order; grid (groups, out, 2) bfloat16; rest (out, groups)
    bfloat16, what rounding took from the offsets, or None where it took nothing: a rounded offset shifts a whole
    group, which adds up where activations lean to one side.
    """

    def __init__(self, codes: Tensor, scale: Tensor, offset: Tensor, group_size: int) -> None:
        super().__init__()
        self.group_size = group_size
        self.shifted = bool(offset.any())
        missing = -len(codes) % cpu_int4.ROWS
        rounded = offset.bfloat16()
        rest = (offset - rounded.float()).bfloat16()
        grid = nn.functional.pad(torch.stack([scale.bfloat16(), rounded], -1), (0, 0, 0, 0, 0, missing))
        packed = cpu_int4.pack(nn.functional.pad(codes, (0, 0, 0, missing), value=8))
        self.register_buffer("packed", packed, persistent=False)
        self.register_buffer("grid", grid.transpose(0, 1).contiguous(), persistent=False)
        lost = nn.functional.pad(rest, (0, 0, 0, missing)) if bool(rest.any()) else None
        self.register_buffer("rest", lost, persistent=False)

    packed: Tensor
    grid: Tensor
    rest: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (n, in) bfloat16; result (n, outputs filled up) bfloat16."""
        y = cpu_int4.product(x, self.packed, self.group_size, self.grid)
        if self.rest is None:
            return y
        sums = x.view(len(x), -1, self.group_size).sum(-1, dtype=torch.float32)
        return y + nn.functional.linear(sums.bfloat16(), self.rest)

    def values(self, outputs: slice, dtype: torch.dtype) -> Tensor:
        """The weights of some outputs, computed in `dtype`. Shapes: (in, outputs); outputs past the matrix are 0."""
        layout = cpu_int4.layout()
        assert layout is not None  # `unpacks` was asked
        centred = cpu_int4.unpack(self.packed, outputs, layout).sub_(8).view(torch.int8)
        scale, offset = self.grid[:, None, outputs].permute(3, 0, 1, 2).to(dtype).contiguous()
        found = centred.view(len(scale), self.group_size, -1).to(dtype).mul_(scale)
        if self.shifted:
            found.add_(offset if self.rest is None else offset.add_(self.rest[outputs].T.unsqueeze(1)))
        return found.flatten(0, 1)

    @property
    def unpacks(self) -> bool:
        """Whether `values` can be asked: on a machine whose order of packing is known."""
        return cpu_int4.layout() is not None

    @property
    def n_outputs(self) -> int:
        """Outputs, filled up."""
        return len(self.packed)


class Int8Part(nn.Module):
    """codes * scale + offset with one scale an output. Buffers: codes (out, in) int8; scale, offset (out,)."""

    def __init__(self, codes: Tensor, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.shifted = bool(offset.any())
        self.register_buffer("codes", codes.contiguous(), persistent=False)
        self.register_buffer("scale", scale.bfloat16(), persistent=False)
        self.register_buffer("offset", offset if self.shifted else None, persistent=False)

    codes: Tensor
    scale: Tensor
    offset: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: x (n, in) bfloat16; result (n, out) bfloat16."""
        y = cpu_int8.product(x, self.codes, self.scale)
        if self.offset is None:
            return y
        return (y.float() + x.sum(-1, keepdim=True, dtype=torch.float32) * self.offset).bfloat16()

    def values(self, outputs: slice, dtype: torch.dtype) -> Tensor:
        """The weights of some outputs, computed in `dtype`. Shapes: (in, outputs)."""
        found = self.codes[outputs].to(dtype).mul_(self.scale[outputs, None])
        return (found if self.offset is None else found.add_(self.offset[outputs, None])).T

    unpacks = True

    @property
    def n_outputs(self) -> int:
        """Outputs."""
        return len(self.codes)


Part: TypeAlias = Int4Part | Int8Part


class CpuPackedLinear(nn.Module):
    """x W^T + bias through packed products, whatever the activations' dtype: they are rounded to bfloat16 for it.

    `parts` are summed; `order` (in,) int64 puts act-order columns into the order of their groups, else None.
    """

    def __init__(self, parts: list[Part], shape: tuple[int, int], bias: nn.Parameter | None, order: Tensor | None):
        super().__init__()
        self.out_features, self.in_features = shape
        self.parts: Sequence[Part] = nn.ModuleList(parts)  # type: ignore[assignment]
        self.register_buffer("order", order, persistent=False)
        self.bias = bias
        self.many_rows = MANY_ROWS if isinstance(parts[0], Int4Part) else MANY_ROWS_INT8

    order: Tensor | None

    @property
    def n_weights(self) -> int:
        """The weights that the codes stand for."""
        return self.out_features * self.in_features

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        if self.order is not None:
            rows = rows.index_select(1, self.order)
        rows = rows.bfloat16()
        if not len(rows):
            found = rows.new_zeros((0, self.out_features))
        elif len(rows) >= self.many_rows and self.parts[0].unpacks:
            found = self._through_values(rows)
        else:
            found = self.parts[0](rows)
            for part in self.parts[1:]:
                found = found + part(rows)
        y = found[:, : self.out_features].to(x.dtype)
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def _through_values(self, rows: Tensor) -> Tensor:
        """The same by unpacking some outputs at a time. Shapes: rows (n, in) -> (n, outputs filled up)."""
        # Rounded once in all: where equal codes are rounded alike in between, the roundings add up over a group.
        dtype = torch.float32 if len(self.parts) > 1 or self.parts[0].shifted else torch.bfloat16
        n = self.parts[0].n_outputs
        y = rows.new_empty((len(rows), n))
        at_a_time = max(cpu_int4.ROWS, WEIGHTS_AT_A_TIME // self.in_features // cpu_int4.ROWS * cpu_int4.ROWS)
        for start in range(0, n, at_a_time):
            outputs = slice(start, min(start + at_a_time, n))
            weight = self.parts[0].values(outputs, dtype)
            for part in self.parts[1:]:
                weight.add_(part.values(outputs, dtype))
            y[:, outputs] = rows @ weight.bfloat16()
        return y

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def cpu_packed_linear(codes: Codes, bias: nn.Parameter | None) -> CpuPackedLinear | str:
    """The layer that computes with these codes on this CPU, or the reason why there is none.

    2 and 3 bits take 4. Above 4 bits a code is two of 4 bits, or with one scale an output one of 8. Scales are rounded
    to bfloat16, which those of a bfloat16 checkpoint are already.
    """
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return f"a CPU of kind {torch.backends.cpu.get_cpu_capability()}, where the packed products are not vectorised"
    try:
        codes, order = codes.regrouped()
    except ValueError as error:
        return f"{error}, and equal ones are needed"
    codes = _centred(codes)
    rows, columns = codes.codes.shape
    scale, zero = codes.scale.bfloat16().float(), codes.zero.float()
    size = next((size for size in cpu_int4.GROUP_SIZES if codes.group_size % size == 0), None)
    one_scale = codes.bits == 8 and codes.scale.shape[1] == 1 and columns % cpu_int8.COLUMNS == 0
    # Off the middle its offset is added to a rounded sum, which two parts of 4 bits do better.
    if one_scale and (size is None or codes.symmetric):
        part = Int8Part((codes.codes - 128).view(torch.int8), scale[:, 0], ((128 - zero) * scale)[:, 0])
        return CpuPackedLinear([part], (rows, columns), bias, order)
    if size is None:
        return f"groups of {codes.group_size} columns, where 32, 64, 128 or 256 must fit"
    repeats = codes.group_size // size
    scale, zero = scale.repeat_interleave(repeats, 1), zero.repeat_interleave(repeats, 1)
    return CpuPackedLinear(_int4_parts(codes, scale, zero, size), (rows, columns), bias, order)


def _centred(codes: Codes) -> Codes:
    """The same weight in 4 or 8 bits; codes that have room there are moved so that all zero points are 8 or 128."""
    if codes.bits in (4, 8):
        return codes
    bits = 4 if codes.bits < 4 else 8
    middle = 2 ** (bits - 1)
    grouped = codes.codes.view(len(codes.zero), codes.zero.shape[1], -1)
    moved = (grouped + middle - codes.zero.unsqueeze(-1)).flatten(1)
    return Codes(codes=moved, scale=codes.scale, zero=torch.full_like(codes.zero, middle), bits=bits)


def _int4_parts(codes: Codes, scale: Tensor, zero: Tensor, size: int) -> list[Part]:
    if codes.bits == 4:
        return [Int4Part(codes.codes, scale, (8 - zero) * scale, size)]
    # code - zero = [16 (high - 8) + 136 - zero] + (low - 8): so split, each part is about 0 where the weight is, and
    # the bfloat16 sum of both loses nothing to two large numbers that cancel.
    high = Int4Part(codes.codes >> 4, 16 * scale, (136 - zero) * scale, size)
    return [high, Int4Part(codes.codes & 15, scale, torch.zeros_like(scale), size)]
