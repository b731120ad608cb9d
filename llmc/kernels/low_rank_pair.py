"""y = (x right^T) left^T for a low-rank pair, always in that order; the product of the two is never made."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llmc.kernels import gpu_ops
from llmc.kernels.pack import Planar


@dataclass(frozen=True, kw_only=True)
class LowRankPair:
    """W = left right, each a matrix or quantised. Shapes: left (out, rank), right (rank, in)."""

    left: Tensor | Planar
    right: Tensor | Planar


def matmul(x: Tensor, pair: LowRankPair) -> Tensor:
    """x W^T by two products: the vendor's for matrices, `llmc::wq_matmul` for codes. Shapes: (…, in) -> (…, out)."""
    return _by(_by(x, pair.right), pair.left)


def _by(x: Tensor, factor: Tensor | Planar) -> Tensor:
    if isinstance(factor, Planar):
        return gpu_ops.wq_matmul(x, factor)
    return torch.nn.functional.linear(x, factor)


def corrected(x: Tensor, base: Planar, pair: LowRankPair) -> Tensor:
    """x (base + left right)^T: a quantised matrix with its error made good by a pair. Three launches, none fused."""
    return gpu_ops.wq_matmul(x, base) + matmul(x, pair)
