"""The products as torch operators in the namespace `llmc`: quantised, by tables, by planes, low-rank.

On a CPU they compute the plain reference. Triton is imported when an operator first runs on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.kernels import gpu_setting, lut, reference
from llmc.kernels.lut import Planes, Tables
from llmc.kernels.operators import register
from llmc.kernels.pack import Planar

# ---- codes on affine grids ---------------------------------------------------------------------------------------


def wq_matmul(x: Tensor, weight: Planar) -> Tensor:
    """x W^T for a quantised matrix. Shapes: x (…, in) -> (…, out)."""
    out: Tensor = _wq(
        x,
        weight.words,
        weight.scale,
        weight.zero,
        weight.gain,
        weight.bits,
        weight.group_size,
        weight.step_words,
        weight.n_out,
        weight.n_in,
    )
    return out


def _planar(
    words: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    gain: float,
    bits: int,
    group_size: int,
    step_words: int,
    n_out: int,
    n_in: int,
) -> Planar:
    if scale.dtype != torch.float16:
        raise UserError(
            f"the quantised product takes scales in float16, got {scale.dtype}",
            hint="don't convert a packed model to another dtype; load it with the dtype that it should compute in",
        )
    return Planar(
        words=words,
        scale=scale,
        zero=zero,
        gain=gain,
        bits=bits,
        group_size=group_size,
        step_words=step_words,
        n_out=n_out,
        n_in=n_in,
    )


def _wq_cpu(x: Tensor, words: Tensor, scale: Tensor, zero: Tensor | None, gain: float, *shape: int) -> Tensor:
    return reference.matmul(x, _planar(words, scale, zero, gain, *shape))


def _wq_cuda(x: Tensor, words: Tensor, scale: Tensor, zero: Tensor | None, gain: float, *shape: int) -> Tensor:
    from llmc.kernels import wq_launch

    weight = _planar(words, scale, zero, gain, *shape)
    return wq_launch.matmul(x, weight, magic=gpu_setting.mode() == "magic")


def _wq_fake(x: Tensor, words: Tensor, scale: Tensor, zero: Tensor | None, gain: float, *shape: int) -> Tensor:
    n_out = shape[-2]
    return x.new_empty(*x.shape[:-1], n_out)


_wq = register(
    "wq_matmul(Tensor x, Tensor words, Tensor scale, Tensor? zero, float gain, int bits, int group_size, "
    "int step_words, int n_out, int n_in) -> Tensor",
    cpu=_wq_cpu,
    cuda=_wq_cuda,
    fake=_wq_fake,
)


# ---- tables and binary planes ------------------------------------------------------------------------------------


def table_matmul(x: Tensor, weight: Tables, *, split: int = 1) -> Tensor:
    """x W^T for 4-bit codes of tables; `split` programs share a tile's inputs. Shapes: x (rows, in) -> (rows, out)."""
    out: Tensor = _table(x, weight.words, weight.table, weight.n_out, weight.n_in, split)
    return out


def plane_matmul(x: Tensor, weight: Planes, *, split: int = 1) -> Tensor:
    """x W^T for signed binary planes (BCQ); `split` as for tables. Shapes: x (rows, in) -> (rows, out)."""
    out: Tensor = _plane(
        x, weight.words, weight.alpha, weight.offset, weight.group_size, weight.n_out, weight.n_in, split
    )
    return out


def _by_definition(x: Tensor, weight: Tables | Planes) -> Tensor:
    return (x.double() @ lut.dequantised(weight).T).to(x.dtype)


def _table_cpu(x: Tensor, words: Tensor, table: Tensor, n_out: int, n_in: int, split: int) -> Tensor:
    return _by_definition(x, Tables(words=words, table=table, n_out=n_out, n_in=n_in))


def _table_cuda(x: Tensor, words: Tensor, table: Tensor, n_out: int, n_in: int, split: int) -> Tensor:
    return lut.matmul(x, Tables(words=words, table=table, n_out=n_out, n_in=n_in), split=split)


def _table_fake(x: Tensor, words: Tensor, table: Tensor, n_out: int, n_in: int, split: int) -> Tensor:
    return x.new_empty(x.shape[0], n_out)


def _planes(words: Tensor, alpha: Tensor, offset: Tensor, group_size: int, n_out: int, n_in: int) -> Planes:
    return Planes(words=words, alpha=alpha, offset=offset, group_size=group_size, n_out=n_out, n_in=n_in)


def _plane_cpu(x: Tensor, words: Tensor, alpha: Tensor, offset: Tensor, *shape: int) -> Tensor:
    return _by_definition(x, _planes(words, alpha, offset, *shape[:-1]))


def _plane_cuda(x: Tensor, words: Tensor, alpha: Tensor, offset: Tensor, *shape: int) -> Tensor:
    return lut.matmul(x, _planes(words, alpha, offset, *shape[:-1]), split=shape[-1])


def _plane_fake(x: Tensor, words: Tensor, alpha: Tensor, offset: Tensor, *shape: int) -> Tensor:
    return x.new_empty(x.shape[0], shape[1])


_table = register(
    "table_matmul(Tensor x, Tensor words, Tensor table, int n_out, int n_in, int split) -> Tensor",
    cpu=_table_cpu,
    cuda=_table_cuda,
    fake=_table_fake,
)
_plane = register(
    "plane_matmul(Tensor x, Tensor words, Tensor alpha, Tensor offset, int group_size, int n_out, int n_in, "
    "int split) -> Tensor",
    cpu=_plane_cpu,
    cuda=_plane_cuda,
    fake=_plane_fake,
)


# ---- low-rank pairs ----------------------------------------------------------------------------------------------


def low_rank_matmul(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(x right^T) left^T. Shapes: x (…, in), left (out, rank), right (rank, in) -> (…, out).

    One node, so that no compiler makes the product of the two matrices. Both products are the vendor's on every
    device: no kernel of ours would beat them (`docs/kernels-gpu.md`).
    """
    out: Tensor = _low_rank(x, left, right)
    return out


def _low_rank_anywhere(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return torch.nn.functional.linear(torch.nn.functional.linear(x, right), left)


def _low_rank_fake(x: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], left.shape[0])


_low_rank = register(
    "low_rank_matmul(Tensor x, Tensor left, Tensor right) -> Tensor",
    cpu=_low_rank_anywhere,
    cuda=_low_rank_anywhere,
    fake=_low_rank_fake,
)
