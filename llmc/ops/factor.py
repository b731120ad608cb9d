"""Triangular factors of a damped Gram matrix: what changing one input costs, and how later ones make up for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from llmc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """How the error of one input column is made good by the columns after it.

    With H the damped Gram matrix, its columns in the order of processing, and H = M M^T for an upper triangular M:
    `gain[j, i]` = M_ji / M_ii for i > j is what column i gains for each unit by which column j fell short of its
    original value, and `cost[i]` = M_ii**2 is what a unit of change in column i costs once all later ones have adapted.

    Shapes: gain (in, in) float32, upper triangular with 1 on the diagonal; cost (in,) float32, on the scale of H
    over its mean diagonal; order (in,) int64, the column that is processed k-th, or None for their own order.
    """

    gain: Tensor
    cost: Tensor
    order: Tensor | None
    damping: float
    """The damping that was used, as a fraction of the mean diagonal of the Gram matrix."""


def feedback(gram: Tensor, damping: float, *, descending: bool = False) -> Feedback:
    """The feedback factors of `gram` plus `damping` times its mean diagonal on the diagonal.

    With U the upper Cholesky factor of the inverse of H (H^-1 = U^T U) that GPTQ and SparseGPT use, M = U^-1: so
    errors that they measure against the running weights, passed on by U, are here measured against the original
    ones, passed on by M, and nothing is ever inverted. M = J chol(J H J) J, with J the reversal of the columns.
    Columns that were never lit couple to nothing and need no special case. `descending` puts columns of large
    diagonal first. Damping is raised tenfold, up to 1, while the matrix is not positive definite.

    Shapes: gram (in, in), finite, at any scale. A zero gram stands for the identity.
    Source: Frantar & Alistarh 2023, arXiv:2301.00774, sec. 3; Chen et al. 2025, arXiv:2507.18553 (the equivalence).
    """
    order = gram.diagonal().argsort(descending=True, stable=True) if descending else None
    reverse = _reversed(gram, order)
    for level in damping_levels(damping):
        lower = _cholesky(reverse, level)
        if lower is not None:
            upper = lower.flip(0, 1)
            pivot = upper.diagonal().clone()
            return Feedback(gain=upper.div_(pivot).float(), cost=pivot.square_().float(), order=order, damping=level)
    raise UserError(
        "the Gram matrix of this layer's inputs is not positive definite even when its mean diagonal is added to it",
        hint="calibrate with more or other text, in bfloat16 or float32",
    )


def _reversed(gram: Tensor, order: Tensor | None) -> Tensor:
    """The gram over its mean diagonal, its columns in the reverse of the order of processing, in its own dtype."""
    scale = gram.diagonal().double().mean()
    if scale == 0:
        return torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    if order is None:
        return gram.flip(0, 1).div_(scale)
    backwards = order.flip(0)
    return gram.index_select(0, backwards).index_select(1, backwards).div_(scale)


def _cholesky(matrix: Tensor, damping: float) -> Tensor | None:
    """The lower Cholesky factor of `matrix` plus `damping` on its diagonal; None if that isn't positive definite.

    In float32, which takes half the time, where its rounding stays under a tenth of the damping, by the bound
    sqrt(n) * eps * norm; else, or if that fails, in float64.
    """
    rounding = len(matrix) ** 0.5 * torch.finfo(torch.float32).eps * float(matrix.abs().sum(1).max())
    dtypes = (torch.float32, torch.float64) if rounding < 0.1 * damping else (torch.float64,)
    for dtype in dtypes:
        damped = matrix.to(dtype, copy=True)
        damped.diagonal().add_(damping)
        factor: tuple[Tensor, Tensor] = torch.linalg.cholesky_ex(damped)
        if not factor[1].item():
            return factor[0]
    return None


def damping_levels(damping: float) -> list[float]:
    """The dampings to try in turn: the one asked for, then ten times as much each time, never above 1."""
    levels = [damping]
    while max(levels[-1] * 10, 1e-4) <= 1:
        levels.append(max(levels[-1] * 10, 1e-4))
    return levels
