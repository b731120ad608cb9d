"""A linear layer whose weight stays packed: exact everywhere, because it computes with the very dequantised weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmc.kernels.scratch import scratch
from llmc.ops.codes import Codes, fill_values_, row_blocks
from llmc.ops.planes import pack_planes, unpack_planes
from llmc.ops.product import linear


class PackedLinear(nn.Module):
    """x W^T + bias, where W exists as codes of `bits` bits and is unpacked, used and dropped in each call.

    Its outputs are bit for bit those of a linear layer that holds the dequantised weight in the input's dtype.
    Buffers: codes (out, bytes) uint8 in planes; scale (out, groups) as the file had it; zero (out, bytes) uint8 in
    planes, None for a symmetric grid; group (in,) int32, None where groups lie in order. None of them is ever saved:
    the checkpoint is.
    """

    def __init__(self, codes: Codes, bias: nn.Parameter | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = codes.codes.shape
        self.bits = codes.bits
        self.n_groups = codes.scale.shape[1]
        group = None if codes.group is None else codes.group.to(torch.int32)
        zero = None if codes.symmetric else pack_planes(codes.zero, codes.bits)
        self.register_buffer("codes", pack_planes(codes.codes, codes.bits), persistent=False)
        self.register_buffer("scale", codes.scale.contiguous(), persistent=False)
        self.register_buffer("zero", zero, persistent=False)
        self.register_buffer("group", group, persistent=False)
        self.bias = bias

    is_copy = False
    """Whether another layer of the model stands for the same weights."""
    codes: Tensor
    scale: Tensor
    zero: Tensor | None
    group: Tensor | None

    @property
    def n_weights(self) -> int:
        """The weights that the codes stand for."""
        return self.out_features * self.in_features

    def dequantised(self, dtype: torch.dtype, into: Tensor | None = None) -> Tensor:
        """The dense weight (out, in), made anew at every call, in the memory of `into` (out, in) if that is given."""
        return self.unpacked(slice(0, self.out_features), dtype, into)

    def unpacked(self, outputs: slice, dtype: torch.dtype, into: Tensor | None = None) -> Tensor:
        """The dense weights of some outputs, (outputs, in), in the memory of `into` if that is given."""
        start, n = outputs.start, outputs.stop - outputs.start
        weight = torch.empty((n, self.in_features), dtype=dtype, device=self.codes.device) if into is None else into
        for part in row_blocks(n, self.in_features):
            self._fill_(weight[part], slice(start + part.start, start + part.stop))
        return weight

    def rows(self, which: Tensor, dtype: torch.dtype) -> Tensor:
        """The dense weights of the outputs `which` (n,) alone. Shapes: (n, in)."""
        weight = torch.empty((len(which), self.in_features), dtype=dtype, device=self.codes.device)
        for part in row_blocks(len(which), self.in_features):
            self._fill_(weight[part], which[part])
        return weight

    def _fill_(self, weight: Tensor, rows: slice | Tensor) -> None:
        codes = unpack_planes(self.codes[rows], self.bits, self.in_features)
        zero = None if self.zero is None else unpack_planes(self.zero[rows], self.bits, self.n_groups)
        group = None if self.group is None else self.group.long()
        fill_values_(weight, codes, self.scale[rows], zero, self.bits, group)

    def forward(self, x: Tensor) -> Tensor:
        room = scratch((self.out_features, self.in_features), x.dtype, self.codes.device)
        return linear(x, self.dequantised(x.dtype, room), self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"
