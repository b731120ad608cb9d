"""Products with very sparse weights on a CPU: torch's CSR in float32, and dense for many rows."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from llmc.kernels.scratch import scratch
from llmc.ops.bitmask import Bitmask, row_blocks, words
from llmc.ops.product import linear

MOST_DENSITY = {torch.float32: 0.2, torch.bfloat16: 0.1, torch.float16: 0.1}
"""The largest share of kept weights, in whole per cent, at which CSR beats the dense product of a dtype at 1 to 8 rows.

Measured with `bench/sparse_cpu.py` (docs/performance-kernels.md).
"""
MANY_ROWS = {torch.float32: 512, torch.bfloat16: 192, torch.float16: 192}
"""From about here on filling in the zeros and one dense product is faster than CSR, whose time grows with the rows."""
MANY_ROWS_DENSER = 128
"""The same where more than a tenth of the weights is kept, as only float32 has it."""


class CsrLinear(nn.Module):
    """x W^T + bias by the kept weights alone, in float32 whatever the activations' dtype.

    Buffers: starts (out + 1,) int32; columns (kept,) int32; values (kept,) float32. None of them is ever saved.
    """

    def __init__(self, weight: Bitmask, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = len(weight.mask), weight.n_in
        bits = np.unpackbits(weight.mask.numpy(), axis=1, count=weight.n_in, bitorder="little")
        starts = np.concatenate([[0], bits.sum(1, dtype=np.int64).cumsum()]).astype(np.int32)
        columns = (np.flatnonzero(bits) % weight.n_in).astype(np.int32)
        self.register_buffer("starts", torch.from_numpy(starts), persistent=False)
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)
        self.register_buffer("values", weight.values.float(), persistent=False)
        self.bias = bias
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says once that CSR is in beta
            self._matrix()

    starts: Tensor
    columns: Tensor
    values: Tensor

    @property
    def n_weights(self) -> int:
        """The weights that the layer stands for, zeros included."""
        return self.out_features * self.in_features

    def many_rows(self, dtype: torch.dtype) -> int:
        """The rows of x from which the zeros are filled in; 0 for a dtype that always has them filled in."""
        limit = MANY_ROWS.get(dtype, 0)
        return min(limit, MANY_ROWS_DENSER) if len(self.values) > 0.1 * self.n_weights else limit

    def _matrix(self) -> Tensor:
        shape = (self.out_features, self.in_features)
        return torch.sparse_csr_tensor(self.starts, self.columns, self.values, size=shape, check_invariants=False)

    def dequantised(self, dtype: torch.dtype, into: Tensor | None = None) -> Tensor:
        """The dense weight (out, in), made anew at every call, in the memory of `into` (out, in) if that is given."""
        dense = torch.empty((self.out_features, self.in_features), dtype=dtype) if into is None else into
        starts, columns = self.starts.numpy(), self.columns.numpy()
        for rows in row_blocks(self.out_features, self.in_features):
            first = starts[rows.start : rows.stop + 1]
            kept = slice(int(first[0]), int(first[-1]))
            offsets = np.arange(len(first) - 1) * self.in_features
            dense[rows] = 0
            places = np.repeat(offsets, np.diff(first)) + columns[kept]
            words(dense)[rows].view(-1).numpy()[places] = words(self.values[kept].to(dtype)).numpy()
        return dense

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.in_features)
        if not 0 < len(rows) < self.many_rows(x.dtype):
            room = scratch((self.out_features, self.in_features), x.dtype, self.values.device)
            return linear(x, self.dequantised(x.dtype, room), self.bias)
        wide = rows.float()
        matrix = self._matrix()
        y = torch.mv(matrix, wide[0]).unsqueeze(0) if len(wide) == 1 else torch.mm(matrix, wide.T).T
        if self.bias is not None:
            y = y + self.bias.float()
        return y.to(x.dtype).reshape(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        density = len(self.values) / self.n_weights
        return f"in_features={self.in_features}, out_features={self.out_features}, density={density:.3f}"


def csr_linear(weight: Tensor, n_kept: int, bias: nn.Parameter | None, dtype: torch.dtype) -> CsrLinear | str:
    """A layer for a matrix (out, in) of `n_kept` weights that is faster on a CPU than the dense one in `dtype`.

    Or the reason why there is none, as a clause. Two of four has no product here; at a density of a half nothing beats
    the dense one.
    """
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return "a build of torch without MKL, whose sparse products are used"
    limit = MOST_DENSITY.get(dtype, 0.0)
    if round(n_kept / weight.numel(), 2) > limit:
        zeros, name = f"{100 * (1 - limit):.0f} %", str(dtype).removeprefix("torch.")
        return f"fewer than {zeros} zeros, where no sparse product on a CPU beats the dense {name} one"
    return CsrLinear(Bitmask.of(weight), bias)
