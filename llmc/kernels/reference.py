"""What the kernels must compute, written plainly: the definition in float64, one operation after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.kernels.pack import Planar, unpack_planar


def dequantised(weight: Planar) -> Tensor:
    """The real numbers that `weight` stands for. Shapes: (out, in) float64."""
    codes = unpack_planar(weight.words, weight.bits, weight.step_words).double()
    group = torch.arange(codes.shape[1], device=codes.device) // weight.group_size
    scale = weight.scale.double().T[:, group] * weight.gain
    zero = 2.0 ** (weight.bits - 1) if weight.zero is None else weight.zero.double().T[:, group]
    return ((codes - zero) * scale)[: weight.n_out, : weight.n_in]


def matmul(x: Tensor, weight: Planar) -> Tensor:
    """x W^T in float64, rounded once to the dtype of x. Shapes: x (…, in) -> (…, out)."""
    return (x.double() @ dequantised(weight).T).to(x.dtype)


def as_half(x: Tensor) -> Tensor:
    """x as the kernels read it: float16, held to +-65504; a NaN stays one."""
    return x.float().clamp(-65504.0, 65504.0).to(torch.float16)
