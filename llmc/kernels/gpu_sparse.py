"""Linear layers on a GPU that hold a pruned matrix and no dense copy of it: as values and gaps, or as torch's 2:4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmc.errors import UserError
from llmc.kernels import sparse_ops
from llmc.kernels.gap_sparse import ENTRY_BYTES, GapSparse, encode, holds
from llmc.kernels.semi_structured import MULTIPLES, TwoOfFour

GAP_ROWS = 2
"""Rows of x up to which the product goes by the gaps; for more the matrix is written out, used and dropped."""
MOST_BYTES = 0.75
"""The largest share of the dense matrix's bytes that gap coding may take, as for other sparse layers: with 16 bits a
weight and 4,096 columns that is from 43 % zeros on; nothing promises speed where more is read."""


class GapLinear(nn.Module):
    """x W^T + bias by `llmc::gap_matmul` for one or two rows of x; for more the matrix is written out in each call.

    Buffers: those of `GapSparse`, all int32, so that no conversion of the model's dtype touches them. None is ever
    saved. Values are float16, sums float32.
    """

    def __init__(self, weight: GapSparse, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features, self.reach = weight.n_out, weight.n_in, weight.reach
        self.register_buffer("values", weight.values, persistent=False)
        self.register_buffer("gaps", weight.gaps, persistent=False)
        self.register_buffer("starts", weight.starts, persistent=False)
        self.bias = bias

    values: Tensor
    gaps: Tensor
    starts: Tensor

    @property
    def n_weights(self) -> int:
        """The weights that the layer stands for, zeros included."""
        return self.out_features * self.in_features

    @property
    def matrix(self) -> GapSparse:
        """The matrix as its product takes it."""
        return GapSparse(
            values=self.values, gaps=self.gaps, starts=self.starts, n_in=self.in_features, reach=self.reach
        )

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in), made anew at every call."""
        return sparse_ops.gap_dense(self.matrix, dtype)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        if not 0 < len(rows) <= GAP_ROWS:
            return nn.functional.linear(x, self.dequantised(x.dtype), self.bias)
        y = sparse_ops.gap_matmul(rows, self.matrix).reshape(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, {2 * self.values.numel()} entries"


class TwoOfFourLinear(nn.Module):
    """x W^T + bias by torch's 2:4 product (`llmc::two_of_four_matmul`), for any number of rows of x.

    Activations of another dtype than the weight's meet the matrix written out in that call. Buffers: packed, meta (None
    for cuSPARSELt), as `TwoOfFour` has them, but packed looked at as int16: cuSPARSELt's positions lie in it too, and a
    conversion of the model's dtype would make others of them. None is ever saved.
    """

    def __init__(self, weight: TwoOfFour, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.n_out, weight.n_in
        self.dtype = weight.packed.dtype
        self.register_buffer("packed", weight.packed.view(torch.int16), persistent=False)
        self.register_buffer("meta", weight.meta, persistent=False)
        self.bias = bias

    packed: Tensor
    meta: Tensor | None

    @property
    def n_weights(self) -> int:
        """The weights that the layer stands for, zeros included."""
        return self.out_features * self.in_features

    @property
    def matrix(self) -> TwoOfFour:
        """The matrix as its product takes it."""
        packed = self.packed.view(self.dtype)
        return TwoOfFour(packed=packed, meta=self.meta, n_out=self.out_features, n_in=self.in_features)

    def dequantised(self, dtype: torch.dtype) -> Tensor:
        """The dense weight (out, in), made anew at every call."""
        return self.matrix.dense().to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        if x.numel() == 0 or x.dtype != self.dtype:
            return nn.functional.linear(x, self.dequantised(x.dtype), self.bias)
        y = sparse_ops.two_of_four_matmul(x.reshape(-1, self.in_features), self.matrix, self.bias)
        return y.reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, 2:4"


def gap_linear(weight: Tensor, n_kept: int, bias: nn.Parameter | None, dtype: torch.dtype) -> GapLinear | str:
    """The layer that holds `weight` (out, in) of `n_kept` weights as gaps, or the reason why there is none."""
    most = MOST_BYTES * weight.numel() * dtype.itemsize
    too_many = f"as values and gaps they would take more than {100 * MOST_BYTES:.0f} % of their bytes"
    if n_kept * ENTRY_BYTES > most:
        return too_many
    if not holds(weight, dtype):
        return "weights that float16 holds less well than the model's dtype, and gap coding has float16 values"
    found = encode(weight)
    return GapLinear(found, bias) if found.size_bytes <= most else too_many  # rows are filled up to whole blocks


def two_of_four_linear(
    weight: Tensor, bias: nn.Parameter | None, dtype: torch.dtype, device: torch.device
) -> TwoOfFourLinear | str:
    """The layer that holds `weight` (out, in) in torch's 2:4 type, on `device`, or the reason why there is none."""
    if dtype not in MULTIPLES:
        return f"torch's 2:4 products take no {str(dtype).removeprefix('torch.')}"
    try:
        return TwoOfFourLinear(TwoOfFour.of(weight.to(device, dtype)), bias)
    except UserError as error:
        return str(error)
    except RuntimeError as error:  # a build of torch, or a device, without it
        return f"torch makes no 2:4 matrix on this device ({str(error).splitlines()[0]})"
