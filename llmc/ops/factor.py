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
    diagonal first. Damping is raised tenfold, up to 1, while the matrix is not positive definite in float64.

    Shapes: gram (in, in), finite, at any scale. A zero gram stands for the identity.
    Source: Frantar & Alistarh 2023, arXiv:2301.00774, sec. 3; Chen et al. 2025, arXiv:2507.18553 (the equivalence).
    """
    scale = gram.diagonal().double().mean()
    order = gram.diagonal().argsort(descending=True, stable=True) if descending else None
    sorted_gram = gram if order is None else gram[order][:, order]
    reverse = sorted_gram.flip(0, 1).double()
    if scale == 0:
        reverse, scale = torch.eye(len(gram), dtype=torch.float64, device=gram.device), torch.ones_like(scale)
    reverse /= scale
    diagonal = reverse.diagonal().clone()
    for level in damping_levels(damping):
        reverse.diagonal().copy_(diagonal + level)
        lower, info = torch.linalg.cholesky_ex(reverse)
        if not info.item():
            upper = lower.flip(0, 1)
            pivot = upper.diagonal().clone()
            return Feedback(gain=upper.div_(pivot).float(), cost=pivot.square_().float(), order=order, damping=level)
    raise UserError(
        "the Gram matrix of this layer's inputs is not positive definite even when its mean diagonal is added to it",
        hint="calibrate with more or other text, in bfloat16 or float32",
    )


def damping_levels(damping: float) -> list[float]:
    """The dampings to try in turn: the one asked for, then ten times as much each time, never above 1."""
    levels = [damping]
    while max(levels[-1] * 10, 1e-4) <= 1:
        levels.append(max(levels[-1] * 10, 1e-4))
    return levels
