"""Which layer computes with a pruned matrix on a device, or why none does."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from llmc.kernels import gpu_setting
from llmc.kernels.cpu_sparse import csr_linear
from llmc.kernels.gap_sparse import ENTRY_BYTES
from llmc.kernels.gpu_sparse import TwoOfFourLinear, gap_linear, two_of_four_linear
from llmc.kernels.semi_structured import LEAST_ROWS, WEIGHT_BYTES, faster
from llmc.kernels.sparse_ops import two_of_four_matmul

logger = logging.getLogger(__name__)

MOST_OFF = 1e-2
"""How far, in norm, a 2:4 product may be from the dense one: more than rounding ever makes of it in bfloat16."""
_won: dict[tuple[object, ...], bool] = {}
"""Whether torch's 2:4 product won its timed check, by shape, dtype and device: timed once in a process."""


def fast_sparse_linear(
    weight: Tensor, n_kept: int, bias: nn.Parameter | None, dtype: torch.dtype, device: torch.device
) -> nn.Module | str:
    """A layer for a matrix (out, in) of `n_kept` weights on `device`, in a model that computes in `dtype`.

    Or the reason why there is none, as a clause without a full stop. `weight` is on the CPU.
    """
    if gpu_setting.in_use(device):
        return _on_gpu(weight, n_kept, bias, dtype, device)
    if device.type == "cpu":
        return csr_linear(weight, n_kept, bias, dtype)
    if device.type == "cuda":
        return gpu_setting.why_not(device) or "the GPU kernels are not in use"
    return f"the device {device.type}, for which no sparse products are built in"


def _on_gpu(
    weight: Tensor, n_kept: int, bias: nn.Parameter | None, dtype: torch.dtype, device: torch.device
) -> nn.Module | str:
    """One form a layer: torch's 2:4 where it has won its timed check of that shape, else values and gaps.

    2:4 takes 1.125 bytes a weight, keeps bfloat16 as it is, and has one product for any number of rows. Gap coding
    takes 2.5 bytes a kept weight, so less for what is sparser than 55 %, which therefore isn't tried in 2:4.
    """
    if n_kept * ENTRY_BYTES < weight.numel() * WEIGHT_BYTES:
        return gap_linear(weight, n_kept, bias, dtype)
    pair = two_of_four_linear(weight, bias, dtype, device)
    if isinstance(pair, TwoOfFourLinear) and _pays(pair, weight, n_kept, dtype, device):
        return pair
    made = gap_linear(weight, n_kept, bias, dtype)
    lost = isinstance(made, str) and isinstance(pair, TwoOfFourLinear)
    return f"{made}, and torch's 2:4 product isn't faster here" if lost else made


def _pays(pair: TwoOfFourLinear, weight: Tensor, n_kept: int, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether torch's 2:4 product is right, and beats for a prompt what the layer would be instead: gaps or dense."""
    place = (tuple(weight.shape), dtype, str(device))
    if place not in _won:
        other = gap_linear(weight, n_kept, None, dtype)
        try:
            _won[place] = _beats(pair, weight.to(device, dtype), other)
        except RuntimeError as error:  # cuSPARSELt that doesn't know this device, and the like
            logger.warning("torch's 2:4 product does not run here: %s", str(error).splitlines()[0])
            _won[place] = False
        logger.info("2:4 matrices of %s: torch's product %s", place[0], "is used" if _won[place] else "has not won")
    return _won[place]


def _beats(pair: TwoOfFourLinear, dense: Tensor, other: nn.Module | str) -> bool:
    draw = torch.Generator(dense.device).manual_seed(0)
    x = torch.randn(LEAST_ROWS, dense.shape[1], generator=draw, device=dense.device).to(dense.dtype)

    def by_pairs(x: Tensor) -> Tensor:
        return two_of_four_matmul(x, pair.matrix)

    def whole(x: Tensor) -> Tensor:
        return nn.functional.linear(x, dense)

    exact = whole(x).float()
    off = float((by_pairs(x).float() - exact).norm() / exact.norm())
    if not off <= MOST_OFF:  # a NaN is no yes
        logger.warning("torch's 2:4 product of %s is off by %.2g and not used", tuple(dense.shape), off)
        return False
    return faster(other.to(dense.device) if isinstance(other, nn.Module) else whole, by_pairs, x)
