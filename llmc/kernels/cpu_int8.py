"""PyTorch's 8-bit product with one scale an output on x86 CPUs, behind the guard without which it ends the process."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.errors import UserError

COLUMNS = 16
"""Inputs come in multiples of this: in bfloat16 any other number crashes the process."""


def product(x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
    """x W^T with W = codes * scale. Shapes: x (n, in) bfloat16; codes (out, in) int8; scale (out,) bfloat16.

    Raises `UserError` unless everything is bfloat16 and 16 divides the inputs.
    """
    if x.dtype != torch.bfloat16 or scale.dtype != torch.bfloat16:
        raise UserError(f"the 8-bit product computes in bfloat16, got {x.dtype} and {scale.dtype}")
    if codes.shape[1] % COLUMNS or x.shape[1] != codes.shape[1]:
        raise UserError(
            f"the 8-bit product takes inputs in multiples of {COLUMNS}, got {codes.shape[1]} "
            f"and activations of {x.shape[1]}"
        )
    found: Tensor = torch.ops.aten._weight_int8pack_mm(x.contiguous(), codes.contiguous(), scale)
    return found
