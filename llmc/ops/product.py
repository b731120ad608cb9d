"""Float32 matrix products on a CPU, by whichever of torch's two libraries uses the whole CPU.

torch multiplies float32 matrices with Intel's MKL, which takes a general path on other makers' CPUs. oneDNN, which
torch has for bfloat16, uses AVX-512 on any: twice as fast on an EPYC (docs/performance-kernels.md). Both sum in
float32, in another order: results differ in the last bits.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path

import torch
from torch import Tensor

LEAST = 1 << 21
"""Multiplications from which oneDNN's way, 10 microseconds to begin with, was the faster on one and on two threads."""
LEAST_DEPTH = 256
"""Products summed in each entry from which writing the product and adding it beats MKL's adding in place."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + bias, as `torch.nn.functional.linear` in all but the last bits. Shapes: x (…, in), weight (out, in)."""
    if not _suits(x, weight, bias):
        return torch.nn.functional.linear(x, weight, bias)
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")
    return found


def add_product_(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right.T. Shapes: total (m, n), left (m, k), right (n, k)."""
    if left.shape[1] >= LEAST_DEPTH and _suits(left, right):
        total.add_(linear(left, right))
    else:
        total.addmm_(left, right.t())


def by_onednn() -> bool:
    """Whether large float32 products on this CPU go to oneDNN."""
    return bool(torch.backends.mkldnn.enabled) and _mkl_holds_back()


def _suits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Whether oneDNN has a product for these that is fast, and nobody asks for its derivative or another dtype."""
    # Tensors of other types, as torchao's packed weights, know torch's own product only; and its error reads better.
    if type(x) is not Tensor or type(weight) not in (Tensor, torch.nn.Parameter) or x.shape[-1:] != weight.shape[1:]:
        return False
    if not (x.dtype == weight.dtype == torch.float32 and x.device.type == weight.device.type == "cpu"):
        return False
    if x.numel() * len(weight) < LEAST or torch.compiler.is_compiling() or not by_onednn():
        return False
    if torch.is_autocast_enabled("cpu"):
        return False
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)):
        return False
    # For other strides oneDNN has a reference that is a thousand times as slow.
    return weight.is_contiguous() or weight.t().is_contiguous()


@functools.cache
def _mkl_holds_back() -> bool:
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return has_both and torch.backends.cpu.get_cpu_capability() == "AVX512" and "Intel" not in _maker()


def _maker() -> str:
    """Who made this CPU, as it calls itself; "Intel" where that can't be found out, so that nothing changes."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "Intel"
    return next((line for line in lines if line.startswith("vendor_id")), "Intel")
