"""Sparse products as torch operators in the namespace `llmc`: by gaps, a gap-coded matrix written out, 2:4.

On a CPU they compute the plain reference. Triton is imported when an operator first runs on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.kernels import gap_sparse, semi_structured
from llmc.kernels.gap_sparse import GapSparse
from llmc.kernels.operators import register
from llmc.kernels.semi_structured import TwoOfFour

# ---- values and gaps ---------------------------------------------------------------------------------------------


def gap_matmul(x: Tensor, weight: GapSparse) -> Tensor:
    """x W^T for an unstructured sparse matrix and few rows of x. Shapes: x (rows, in) -> (rows, out)."""
    out: Tensor = _gap(x, weight.values, weight.gaps, weight.starts, weight.n_in, weight.reach)
    return out


def _gap_cpu(x: Tensor, values: Tensor, gaps: Tensor, starts: Tensor, n_in: int, reach: int) -> Tensor:
    weight = gap_sparse.decode(GapSparse(values=values, gaps=gaps, starts=starts, n_in=n_in, reach=reach))
    return (x.double() @ weight.double().T).to(x.dtype)


def _gap_cuda(x: Tensor, values: Tensor, gaps: Tensor, starts: Tensor, n_in: int, reach: int) -> Tensor:
    return gap_sparse.matvec(x, GapSparse(values=values, gaps=gaps, starts=starts, n_in=n_in, reach=reach))


def _gap_fake(x: Tensor, values: Tensor, gaps: Tensor, starts: Tensor, n_in: int, reach: int) -> Tensor:
    return x.new_empty(x.shape[0], starts.shape[0] - 1)


_gap = register(
    "gap_matmul(Tensor x, Tensor values, Tensor gaps, Tensor starts, int n_in, int reach) -> Tensor",
    cpu=_gap_cpu,
    cuda=_gap_cuda,
    fake=_gap_fake,
)


def gap_dense(weight: GapSparse, dtype: torch.dtype) -> Tensor:
    """The dense matrix, for the vendor's product. Shapes: (out, in)."""
    out: Tensor = _written(weight.values, weight.gaps, weight.starts, weight.n_in, weight.reach, dtype)
    return out


def _written_cpu(values: Tensor, gaps: Tensor, starts: Tensor, n_in: int, reach: int, dtype: torch.dtype) -> Tensor:
    return gap_sparse.decode(GapSparse(values=values, gaps=gaps, starts=starts, n_in=n_in, reach=reach), dtype)


def _written_cuda(values: Tensor, gaps: Tensor, starts: Tensor, n_in: int, reach: int, dtype: torch.dtype) -> Tensor:
    return gap_sparse.written_out(GapSparse(values=values, gaps=gaps, starts=starts, n_in=n_in, reach=reach), dtype)


def _written_fake(values: Tensor, gaps: Tensor, starts: Tensor, n_in: int, reach: int, dtype: torch.dtype) -> Tensor:
    return values.new_empty(starts.shape[0] - 1, n_in, dtype=dtype)


_written = register(
    "gap_dense(Tensor values, Tensor gaps, Tensor starts, int n_in, int reach, ScalarType dtype) -> Tensor",
    cpu=_written_cpu,
    cuda=_written_cuda,
    fake=_written_fake,
)


# ---- 2:4 ---------------------------------------------------------------------------------------------------------


def two_of_four_matmul(x: Tensor, weight: TwoOfFour, bias: Tensor | None = None) -> Tensor:
    """x W^T + bias, x in the dtype of the kept values. Shapes: x (rows, in) -> (rows, out)."""
    out: Tensor = _two_of_four(x, weight.packed, weight.meta, bias, weight.n_out, weight.n_in)
    return out


def _held(packed: Tensor, meta: Tensor | None, n_out: int, n_in: int) -> TwoOfFour:
    if packed.dtype not in semi_structured.MULTIPLES:
        raise UserError(
            f"the 2:4 product takes weights in float16 or bfloat16, got {packed.dtype}",
            hint="don't convert a sparse model to another dtype; load it with the dtype that it should compute in",
        )
    return TwoOfFour(packed=packed, meta=meta, n_out=n_out, n_in=n_in)


def _two_of_four_cpu(
    x: Tensor, packed: Tensor, meta: Tensor | None, bias: Tensor | None, n_out: int, n_in: int
) -> Tensor:
    return torch.nn.functional.linear(x, _held(packed, meta, n_out, n_in).dense(), bias)


def _two_of_four_cuda(
    x: Tensor, packed: Tensor, meta: Tensor | None, bias: Tensor | None, n_out: int, n_in: int
) -> Tensor:
    return semi_structured.matmul(x, _held(packed, meta, n_out, n_in), bias).contiguous()


def _two_of_four_fake(
    x: Tensor, packed: Tensor, meta: Tensor | None, bias: Tensor | None, n_out: int, n_in: int
) -> Tensor:
    return x.new_empty(x.shape[0], n_out)


_two_of_four = register(
    "two_of_four_matmul(Tensor x, Tensor packed, Tensor? meta, Tensor? bias, int n_out, int n_in) -> Tensor",
    cpu=_two_of_four_cpu,
    cuda=_two_of_four_cuda,
    fake=_two_of_four_fake,
)
