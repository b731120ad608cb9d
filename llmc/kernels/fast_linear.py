"""Which layer computes with packed codes on a device, or why none does."""

from __future__ import annotations

import torch
from torch import nn

from llmc.kernels import gpu_setting
from llmc.kernels.cpu_linear import cpu_packed_linear
from llmc.kernels.gpu_linear import gpu_packed_linear
from llmc.ops.codes import Codes


def fast_linear(codes: Codes, bias: nn.Parameter | None, device: torch.device) -> nn.Module | str:
    """A layer for `codes` on `device`, or the reason why it has none, as a clause without a full stop."""
    if gpu_setting.in_use(device):
        return gpu_packed_linear(codes, bias)
    if device.type == "cpu":
        return cpu_packed_linear(codes, bias)
    if device.type == "cuda":
        return gpu_setting.why_not(device) or "the GPU kernels are not in use"
    return f"the device {device.type}, for which no packed products are built in"


def computes_bfloat16_natively() -> bool:
    """Whether this CPU has bfloat16 instructions: without them a whole model in bfloat16 is slower than in float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())
