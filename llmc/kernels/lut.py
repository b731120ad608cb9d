"""Non-uniform codes: a table of 16 values a row or group, or binary planes with a factor each (BCQ, LUT-GEMM's kind).

Source: Park et al. 2022, arXiv:2206.09557, eq. 2 and 3 (BCQ with a bias). A uniform grid is the special case
alpha_b = scale * 2**b / 2, and is better served by the kernels for grids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.kernels.gpu_setting import interpreting
from llmc.kernels.pack import ROW_TILE, pack_planar, step_size, unpack_planar
from llmc.kernels.workspace import arrival_counters

TABLE_WORDS = 16
"""KW of the tables' codes: a step is 128 columns."""
PLANE_WORDS = 8
"""KW of binary planes: a step is 256 columns."""
ROWS = 128
MOST_ROWS_OF_X = 16


@dataclass(frozen=True, kw_only=True)
class Tables:
    """W = table[group of column, row, code]. Shapes: words (rows, n_in / 8); table (groups, rows, 16) float16."""

    words: Tensor
    table: Tensor
    n_out: int
    n_in: int


@dataclass(frozen=True, kw_only=True)
class Planes:
    """W = sum_b alpha_b (2 bit_b - 1) + bias. Shapes: words (q, rows, n_in / 32); alpha (q, groups, rows) float16;
    offset (groups, rows) float32, the bias less the sum of alpha."""

    words: Tensor
    alpha: Tensor
    offset: Tensor
    group_size: int
    n_out: int
    n_in: int


def tables(codes: Tensor, table: Tensor) -> Tables:
    """Codes and tables in the kernel's layout. Shapes: codes (out, in) uint8 below 16; table (out, groups, 16)."""
    n_out, n_in = codes.shape
    step, n_groups = step_size(4, TABLE_WORDS), table.shape[1]
    if n_groups > 1 and (n_in // n_groups % step or n_in % step):
        raise UserError(
            f"tables for groups of {n_in // n_groups} columns don't fit the kernel",
            hint=f"use one table per row, or groups of a multiple of {step} columns",
        )
    padded = torch.nn.functional.pad(codes, (0, -n_in % step, 0, -n_out % ROW_TILE)).contiguous()
    filled = torch.nn.functional.pad(table.transpose(0, 1), (0, 0, 0, -n_out % ROW_TILE))
    return Tables(
        words=pack_planar(padded, 4, TABLE_WORDS),
        table=filled.to(torch.float16).contiguous(),
        n_out=n_out,
        n_in=n_in,
    )


def planes_of(bits: Tensor, alpha: Tensor, bias: Tensor, group_size: int) -> Planes:
    """Binary planes in the kernel's layout.

    Shapes: bits (q, out, in) bool; alpha (q, out, groups); bias (out, groups); the width a multiple of 256 and the
    group of 128 or 256.
    """
    _, n_out, n_in = bits.shape
    step = step_size(1, PLANE_WORDS)
    if n_in % step or group_size not in (128, 256):
        raise UserError(
            f"binary planes of {n_in} columns in groups of {group_size} don't fit the kernel",
            hint=f"use a multiple of {step} columns and groups of 128 or 256",
        )
    fill = (0, -n_out % ROW_TILE)
    rows = torch.nn.functional.pad(bits.to(torch.uint8), (0, 0, *fill))
    turned = torch.nn.functional.pad(alpha.transpose(1, 2), fill).to(torch.float16).contiguous()
    offset = torch.nn.functional.pad(bias.T.float(), fill) - turned.float().sum(0)
    words = torch.stack([pack_planar(plane.contiguous(), 1, PLANE_WORDS) for plane in rows])
    return Planes(words=words, alpha=turned, offset=offset.contiguous(), group_size=group_size, n_out=n_out, n_in=n_in)


def dequantised(weight: Tables | Planes) -> Tensor:
    """The dense matrix, by the definition. Shapes: (out, in) float64."""
    if isinstance(weight, Tables):
        codes = unpack_planar(weight.words, 4, TABLE_WORDS).long()
        n_groups = len(weight.table)
        size = codes.shape[1] if n_groups == 1 else weight.n_in // n_groups
        split = codes.view(len(codes), n_groups, size).transpose(0, 1)
        found = torch.gather(weight.table.double(), 2, split).transpose(0, 1).reshape(len(codes), -1)
        return found[: weight.n_out, : weight.n_in]
    group = torch.arange(weight.n_in, device=weight.words.device) // weight.group_size
    found = weight.offset.double().T[:, group]
    for words, alpha in zip(weight.words, weight.alpha, strict=True):
        found = found + 2 * alpha.double().T[:, group] * unpack_planar(words, 1, PLANE_WORDS).double()
    return found[: weight.n_out]


def matmul(x: Tensor, weight: Tables | Planes, *, split: int = 1) -> Tensor:
    """x W^T, at most 16 rows of x by the kernel, more by the dense matrix. Shapes: x (rows, in) -> (rows, out)."""
    if len(x) > MOST_ROWS_OF_X:
        return x @ dequantised(weight).to(x.dtype).T
    n_rows = 8 if len(x) <= 8 else 16
    step = step_size(4, TABLE_WORDS) if isinstance(weight, Tables) else step_size(1, PLANE_WORDS)
    width = -(-weight.n_in // step) * step
    n_steps, n_padded = width // step, weight.words.shape[-2]
    x16 = torch.nn.functional.pad(x.clamp(-65504.0, 65504.0).to(torch.float16), (0, width - weight.n_in))
    x16 = torch.nn.functional.pad(x16, (0, 0, 0, n_rows - len(x)))
    out = torch.empty(len(x), weight.n_out, dtype=x.dtype, device=x.device)
    partial, arrived = out, out
    if split > 1:
        partial = torch.empty(split, n_rows, n_padded, dtype=torch.float32, device=x.device)
        arrived = arrival_counters(x.device, n_padded // ROWS)
    places = (out, partial, arrived, width, weight.n_out, n_padded, len(x), n_steps, -(-n_steps // split))
    settings = {"BN": ROWS, "BM": n_rows, "SPLIT": split, "STAGES": 3, "num_warps": 4, "enable_fp_fusion": True}
    _launch(x16, weight, places, settings, n_steps)
    return out


def _launch(
    x16: Tensor, weight: Tables | Planes, places: tuple[object, ...], settings: Mapping[str, int], n_steps: int
) -> None:
    from llmc.kernels.lut_triton import bcq_kernel, table_kernel

    grid = (weight.words.shape[-2] // ROWS, settings["SPLIT"])
    if isinstance(weight, Tables):
        n_groups = len(weight.table)
        per_group = 0 if n_groups == 1 else n_steps // n_groups
        table_kernel[grid](x16, weight.words, weight.table, *places, KW=TABLE_WORDS, GROUP_STEPS=per_group, **settings)
        return
    n_groups = len(weight.offset)
    xsum = x16.float().view(len(x16), n_groups, -1).sum(-1).T.contiguous()
    bcq_kernel[grid](
        x16, weight.words, weight.alpha, weight.offset, xsum, *places, n_groups,
        Q=len(weight.words), KW=PLANE_WORDS, SUBS=step_size(1, PLANE_WORDS) // weight.group_size,
        ASM=x16.is_cuda and not interpreting(), **settings,
    )  # fmt: skip
