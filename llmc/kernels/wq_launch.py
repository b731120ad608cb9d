"""Launches of the matrix kernels for quantised weights: which kernel, in which tiles, split how."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.kernels.gpu_setting import interpreting
from llmc.kernels.pack import Planar, planes, step_size
from llmc.kernels.tiles import DEVICE_SMS, NARROW_ROWS, Tiles, columns_for, tiles_for
from llmc.kernels.tuned_tiles import tuned
from llmc.kernels.workspace import arrival_counters

WIDE_ROWS = 256
"""Above so many rows the weights are written out once and multiplied by the vendor's library. Not timed yet."""


def n_steps(weight: Planar) -> int:
    """The steps of a row."""
    return _padded_in(weight) // step_size(weight.bits, weight.step_words)


def _padded_in(weight: Planar) -> int:
    return weight.words.shape[1] * 32 // weight.bits


def unit_size(weight: Planar) -> int:
    """The columns that share a scale within a step: a group or, if that is longer, a step."""
    return min(weight.group_size, step_size(weight.bits, weight.step_words))


def _grouping(weight: Planar) -> dict[str, int]:
    """How groups lie in steps, as the kernels want to know it."""
    step = step_size(weight.bits, weight.step_words)
    one_group = weight.scale.shape[0] == 1
    subs = 1 if one_group else max(1, step // weight.group_size)
    assert planes(weight.bits) % subs == 0
    return {"SUBS": subs, "GROUP_STEPS": 0 if one_group else max(1, weight.group_size // step)}


def matmul(
    x: Tensor, weight: Planar, *, magic: bool = False, tiles: Tiles | None = None, wide_rows: int = WIDE_ROWS
) -> Tensor:
    """x W^T by the kernel that suits the number of rows. Shapes: x (…, in) float16, bfloat16 or float32 -> (…, out).

    x counts as float16 in all but the widest products; sums are float32. With zero points that are not whole numbers
    every product of more than 16 rows is a widest one.
    """
    rows = x.reshape(-1, x.shape[-1])
    out: Tensor
    if len(rows) == 0:
        out = x.new_empty(0, weight.n_out)
    elif len(rows) > (NARROW_ROWS if _fractional_zeros(weight) else wide_rows):
        out = torch.mm(rows, dequantise(weight, x.dtype).T)
    else:
        out = _fused(rows, weight, tiles or _tiles(weight, len(rows), x.device), magic)
    return out.view(*x.shape[:-1], weight.n_out)


def _tiles(weight: Planar, n_rows: int, device: torch.device) -> Tiles:
    """Those timed for this product on this device, or those of the rule."""
    timed = tuned(device, weight.n_out, weight.n_in, weight.bits, columns_for(n_rows))
    return timed or tiles_for(len(weight.words), n_steps(weight), n_rows, _n_sms(device))


def _fractional_zeros(weight: Planar) -> bool:
    return weight.zero is not None and weight.zero.dtype == torch.float32


def _n_sms(device: torch.device) -> int:
    if device.type != "cuda":
        return DEVICE_SMS
    return torch.cuda.get_device_properties(device).multi_processor_count


def prepare(x: Tensor, weight: Planar, columns: int) -> tuple[Tensor, Tensor]:
    """x in float16, filled up to whole tiles and steps, and its sums over units.

    Shapes: x (rows, in) -> (padded rows, padded in) float16 and (units, padded rows) float32. All matrices that are
    fed by the same x, and have groups alike, could share it.
    """
    from llmc.kernels.wq_triton import prepare_kernel

    n_rows, width, unit = -(-len(x) // columns) * columns, _padded_in(weight), unit_size(weight)
    x16 = torch.empty(n_rows, width, dtype=torch.float16, device=x.device)
    xsum = torch.empty(width // unit, n_rows, dtype=torch.float32, device=x.device)
    if x.stride(-1) != 1:
        x = x.contiguous()
    prepare_kernel[(width // unit, n_rows)](
        x, x16, xsum, x.shape[1], len(x), x.stride(0), width, n_rows, UNIT=unit, num_warps=1
    )
    return x16, xsum


def _fused(x: Tensor, weight: Planar, tiles: Tiles, magic: bool) -> Tensor:
    from llmc.kernels.wq_triton import wq_narrow_kernel
    from llmc.kernels.wq_wide_triton import wq_wide_kernel

    narrow = len(x) <= NARROW_ROWS
    x16, xsum = prepare(x, weight, tiles.columns)
    out = torch.empty(len(x), weight.n_out, dtype=x.dtype, device=x.device)
    n_padded, steps = len(weight.words), n_steps(weight)
    n_tiles, n_column_tiles = n_padded // tiles.rows, len(x16) // tiles.columns
    partial, arrived = out, out
    if tiles.split > 1:
        partial = torch.empty(tiles.split, len(x16), n_padded, dtype=torch.float32, device=x.device)
        arrived = arrival_counters(x.device, n_tiles * n_column_tiles)
    sizes = (x16.shape[1], weight.n_out, n_padded, len(x))
    settings = {
        "BITS": weight.bits, "KW": weight.step_words, "BN": tiles.rows, "BM": tiles.columns, "SPLIT": tiles.split,
        "HAS_ZERO": weight.zero is not None, "ASM": x.is_cuda and not interpreting(), "STAGES": tiles.stages,
        "num_warps": 4, "enable_fp_fusion": True, **_grouping(weight),
    }  # fmt: skip
    share = -(-steps // tiles.split)
    zero = weight.scale if weight.zero is None else weight.zero
    if narrow:
        wq_narrow_kernel[(n_tiles, tiles.split)](
            x16, weight.words, weight.scale, zero, xsum, out, partial, arrived, weight.gain,
            *sizes, steps, share, MAGIC=magic, **settings,
        )  # fmt: skip
    else:
        wq_wide_kernel[(n_tiles, n_column_tiles, tiles.split)](
            x16, weight.words, weight.scale, zero, out, partial, arrived, weight.gain,
            *sizes, len(x16), steps, share, **settings,
        )  # fmt: skip
    return out


def dequantise(weight: Planar, dtype: torch.dtype) -> Tensor:
    """The dense matrix, written out. Shapes: (out, in) of `dtype`."""
    from llmc.kernels.wq_wide_triton import dequantise_kernel

    out = torch.empty(weight.n_out, weight.n_in, dtype=dtype, device=weight.words.device)
    n_padded, steps = len(weight.words), n_steps(weight)
    zero = weight.scale if weight.zero is None else weight.zero
    dequantise_kernel[(n_padded // 32, steps)](
        weight.words, weight.scale, zero, out, weight.gain, weight.n_in, weight.n_out, n_padded, steps,
        BITS=weight.bits, KW=weight.step_words, BN=32, HAS_ZERO=weight.zero is not None, **_grouping(weight),
    )  # fmt: skip
    return out
