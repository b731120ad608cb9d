"""What a method may take for granted about a layer: finite weights, and statistics that fit it."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.compress.method import LayerStats
from llmc.errors import UserError


def as_float(weight: Tensor, keep: Tensor | None = None) -> Tensor:
    """A float32 copy of `weight` (out, in), zero where `keep` is False; a `UserError` unless all of it is finite."""
    copy = weight.to(torch.float32, copy=True)
    if not bool(torch.stack(copy.aminmax()).isfinite().all()):  # one pass; both are NaN if any weight is
        bad = int(copy.numel() - copy.isfinite().sum())
        raise UserError(
            f"{bad} of {weight.numel()} weights are not finite numbers",
            hint="the checkpoint is damaged or was saved in a dtype too narrow for it",
        )
    return copy if keep is None else copy.mul_(keep)


def sum_of_squares(weight: Tensor, stats: LayerStats) -> Tensor:
    """The layer's `sq_norm` (in,), checked."""
    return _checked(stats.sq_norm, "sq_norm", weight)


def gram_matrix(weight: Tensor, stats: LayerStats) -> Tensor:
    """The layer's `gram` (in, in), checked."""
    return _checked(stats.gram, "gram", weight)  # no entry can exceed the largest of the diagonal, nor be NaN alone


def _checked(statistic: Tensor | None, name: str, weight: Tensor) -> Tensor:
    if statistic is None or statistic.shape[-1] != weight.shape[-1]:
        raise RuntimeError(f"the walk gave no {name} for a weight of shape {tuple(weight.shape)}")
    if not bool(torch.isfinite(statistic.diagonal() if statistic.ndim == 2 else statistic).all()):
        raise UserError(
            f"the calibration inputs of this layer are not finite (their {name} holds NaN or infinity)",
            hint="compute in bfloat16 or float32 (--dtype), or look for a damaged calibration text",
        )
    return statistic
