"""The choices by row, by block and N of M as torch operators in the namespace `llmc`; on a CPU, the plain rule."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.kernels import select
from llmc.kernels.operators import register
from llmc.ops import masks
from llmc.ops.masks import Pattern


def drop_lowest(score: Tensor, sparsity: float, *, cost: Tensor | None = None) -> Tensor:
    """`llmc.kernels.select.drop_lowest` as an operator. Shapes: score (…, width), cost (width,) -> bool, as score."""
    keep: Tensor = _drop_lowest(score, sparsity, cost)
    return keep


def drop_lowest_of_all(score: Tensor, sparsity: float) -> Tensor:
    """`llmc.kernels.select.drop_lowest_of_all` as an operator. Shapes: any -> bool, the same."""
    keep: Tensor = _drop_lowest_of_all(score, sparsity)
    return keep


def keep_n_of_m(score: Tensor, pattern: Pattern, *, cost: Tensor | None = None) -> Tensor:
    """`llmc.kernels.select.keep_n_of_m` as an operator. Shapes: score (…, width), cost (width,) -> bool, as score."""
    keep: Tensor = _keep_n_of_m(score, pattern.keep, pattern.of, cost)
    return keep


def _scored(score: Tensor, cost: Tensor | None) -> Tensor:
    """What is compared: the score, or |weight| * cost in float32."""
    return score if cost is None else score.float().abs() * cost.float()


def _drop_lowest_cpu(score: Tensor, sparsity: float, cost: Tensor | None) -> Tensor:
    return masks.drop_lowest(_scored(score, cost), sparsity)


def _drop_lowest_cuda(score: Tensor, sparsity: float, cost: Tensor | None) -> Tensor:
    return select.drop_lowest(score, sparsity, cost=cost)


def _drop_lowest_of_all_cpu(score: Tensor, sparsity: float) -> Tensor:
    return masks.drop_lowest(score.reshape(1, -1), sparsity).view(score.shape)


def _keep_n_of_m_cpu(score: Tensor, keep: int, of: int, cost: Tensor | None) -> Tensor:
    return masks.keep_n_of_m(_scored(score, cost), Pattern(keep, of)).contiguous()


def _keep_n_of_m_cuda(score: Tensor, keep: int, of: int, cost: Tensor | None) -> Tensor:
    return select.keep_n_of_m(score, Pattern(keep, of), cost=cost)


def _mask_like(score: Tensor, *_: object) -> Tensor:
    return score.new_empty(score.shape, dtype=torch.bool)


_drop_lowest = register(
    "drop_lowest(Tensor score, float sparsity, Tensor? cost) -> Tensor",
    cpu=_drop_lowest_cpu,
    cuda=_drop_lowest_cuda,
    fake=_mask_like,
)
_drop_lowest_of_all = register(
    "drop_lowest_of_all(Tensor score, float sparsity) -> Tensor",
    cpu=_drop_lowest_of_all_cpu,
    cuda=select.drop_lowest_of_all,
    fake=_mask_like,
)
_keep_n_of_m = register(
    "keep_n_of_m(Tensor score, int keep, int of, Tensor? cost) -> Tensor",
    cpu=_keep_n_of_m_cpu,
    cuda=_keep_n_of_m_cuda,
    fake=_mask_like,
)
