"""What the 4-bit product is measured against besides cuBLAS: torch's tinygemm, and Marlin where vLLM is installed.

Each is a product that was compared with the dequantised matrix before it is handed out, or the reason why it is not.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llmc.ops.packing import pack

GROUP_SIZE = 128
BOUND = 2e-2
"""The most that a baseline may be off, relatively: activations, scales and results are bfloat16."""

Product = Callable[[Tensor], Tensor]


class Symmetric(NamedTuple):
    """W = (codes - 8) * scale. Shapes: codes (out, in) uint8 below 16; scale (out, in / 128) bfloat16."""

    codes: Tensor
    scale: Tensor

    def dequantised(self) -> Tensor:
        """Shapes: (out, in) float32."""
        return (self.codes.float() - 8) * self.scale.float().repeat_interleave(GROUP_SIZE, 1)


def symmetric(n_out: int, n_in: int, device: str, seed: int = 0) -> Symmetric:
    """Random codes and scales."""
    draw = torch.Generator(device).manual_seed(seed)
    codes = torch.randint(0, 16, (n_out, n_in), generator=draw, dtype=torch.uint8, device=device)
    scale = torch.rand(n_out, n_in // GROUP_SIZE, generator=draw, device=device) * 0.01 + 0.001
    return Symmetric(codes, scale.bfloat16())


def baselines(weight: Symmetric) -> dict[str, Product | str]:
    """tinygemm and Marlin for this matrix, each a product of x (rows, in) bfloat16 or the reason why there is none."""
    return {name: _checked(make, weight) for name, make in (("tinygemm", _tinygemm), ("marlin", _marlin))}


def _checked(make: Callable[[Symmetric], Product], weight: Symmetric) -> Product | str:
    try:
        product = make(weight)
        x = torch.randn(3, weight.codes.shape[1], device=weight.codes.device).bfloat16()
        exact = x.float() @ weight.dequantised().T
        off = float((product(x).float() - exact).norm() / exact.norm())
    except Exception as problem:  # these are others' operators, of whatever version is installed
        return f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"[:200]
    return product if off <= BOUND else f"its product is off by {off:.3g}"


def _tinygemm(weight: Symmetric) -> Product:
    codes, ops = weight.codes, torch.ops.aten
    grid = torch.stack([weight.scale.T, torch.zeros_like(weight.scale.T)], -1).contiguous()
    if codes.device.type == "cpu":
        packed = ops._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
        return lambda x: ops._weight_int4pack_mm_for_cpu(x, packed, GROUP_SIZE, grid)
    packed = ops._convert_weight_to_int4pack((codes[:, ::2] << 4 | codes[:, 1::2]).contiguous(), 8)
    return lambda x: ops._weight_int4pack_mm(x, packed, GROUP_SIZE, grid)


def _marlin(weight: Symmetric) -> Product:
    """vLLM's operator through its own helpers, whose names change: then the reason says which is missing."""
    operators = importlib.import_module("vllm._custom_ops")
    marlin = importlib.import_module("vllm.model_executor.layers.quantization.utils.marlin_utils")
    kinds = importlib.import_module("vllm.scalar_type").scalar_types
    (n_out, n_in), device = weight.codes.shape, weight.codes.device
    words = pack(weight.codes.cpu(), 4).T.contiguous().to(device)  # GPTQ's order: (in / 8, out)
    empty = torch.empty(0, dtype=torch.int, device=device)
    packed = operators.gptq_marlin_repack(words, empty, n_in, n_out, 4)
    scale = marlin.marlin_permute_scales(weight.scale.T.contiguous(), n_in, n_out, GROUP_SIZE)
    workspace = marlin.marlin_make_workspace_new(device)

    def product(x: Tensor) -> Tensor:
        return marlin.apply_gptq_marlin_linear(
            input=x, weight=packed, weight_scale=scale, weight_zp=empty, g_idx=empty, g_idx_sort_indices=empty,
            workspace=workspace, wtype=kinds.uint4b8, output_size_per_partition=n_out, input_size_per_partition=n_in,
            is_k_full=True,
        )  # fmt: skip

    return product
