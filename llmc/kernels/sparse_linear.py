"""A linear layer whose zeros aren't held: a bit a weight and the others' values, unpacked in each call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmc.kernels.scratch import scratch
from llmc.ops.bitmask import Bitmask, unpack
from llmc.ops.product import linear


class SparseLinear(nn.Module):
    """x W^T + bias, where W exists as kept values and a bit a weight and is unpacked, used and dropped in each call.

    Its outputs are bit for bit those of a linear layer that holds the dense weight in the input's dtype.
    Buffers: values (kept,); mask (out, ceil(in / 8)) uint8. Neither is ever saved: the checkpoint is.
    """

    def __init__(self, weight: Bitmask, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = len(weight.mask), weight.n_in
        self.starts = weight.starts()
        self.register_buffer("values", weight.values, persistent=False)
        self.register_buffer("mask", weight.mask, persistent=False)
        self.bias = bias

    values: Tensor
    mask: Tensor

    @property
    def n_weights(self) -> int:
        """The weights that the layer stands for, zeros included."""
        return self.out_features * self.in_features

    def dequantised(self, dtype: torch.dtype, into: Tensor | None = None) -> Tensor:
        """The dense weight (out, in), made anew at every call, in the memory of `into` (out, in) if that is given."""
        return unpack(self.values, self.mask, self.in_features, self.starts, dtype, into)

    def forward(self, x: Tensor) -> Tensor:
        room = scratch((self.out_features, self.in_features), x.dtype, self.values.device)
        return linear(x, self.dequantised(x.dtype, room), self.bias)

    def extra_repr(self) -> str:
        density = len(self.values) / self.n_weights
        return f"in_features={self.in_features}, out_features={self.out_features}, density={density:.3f}"
