"""Channel scales and clipping for rounding to nearest: which inputs to favour, how much of a range to give up."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.ops.grid import by_group, columns_per_group, fit_grid
from llmc.ops.product import linear

LEAST = 1e-4
"""No scale is smaller before it is normalised, and no denominator gains less."""


def mean_share(weights: list[Tensor], group_size: int) -> Tensor:
    """How large the weights of each input column are, as the mean over rows of |w| over its group's largest |w|.

    Shapes: weights, each (out, in), stacked along the rows -> (in,) float32 in [0, 1].
    """
    size = columns_per_group(weights[0].shape[-1], group_size)
    stacked = torch.cat([weight.float().abs() for weight in weights])
    grouped = by_group(stacked, size)
    return (grouped / (grouped.amax(-1, keepdim=True) + 1e-6)).flatten(1).mean(0)


def channel_scale(activity: Tensor, alpha: float, share: Tensor | None = None) -> Tensor:
    """The scale activity**alpha, divided by share**(1 - alpha) where a share is given, its extremes about 1.

    A channel without activity has scale 1, whatever alpha. Shapes: activity (mean |x| of each input), share and the
    result (in,) float32. Source: Lin et al. 2023, arXiv:2306.00978, eq. 5; the share as AutoAWQ has it.
    """
    lit = activity > 0
    scale = activity.float().pow(alpha)
    if share is not None:
        scale = scale / (share.pow(1 - alpha) + LEAST)
    scale = scale.clamp(min=LEAST)
    if bool(lit.any()):
        scale = scale / (scale[lit].amax() * scale[lit].amin()).sqrt()
    return torch.where(lit & scale.isfinite(), scale, 1.0)


def per_producer(scale: Tensor, source: Tensor) -> Tensor:
    """The mean scale of all the channels that carry one producer's channel.

    Shapes: scale, source (in,) -> (channels of the producer,).
    """
    n_channels = int(source.max()) + 1
    total = torch.zeros(n_channels, device=scale.device).index_add_(0, source, scale)
    return total / torch.bincount(source, minlength=n_channels)


def output_error(change: Tensor, gram: Tensor) -> Tensor:
    """The sum over tokens and outputs of the squared change of output, tr(D G D^T).

    Shapes: change (out, in), gram (in, in) -> ().
    """
    return (linear(change, gram) * change).sum()


def clip_to_best(
    weight: Tensor, gram: Tensor, *, bits: int, group_size: int, symmetric: bool, dtype: torch.dtype
) -> Tensor:
    """The weight with each group cut to the share of its range, 1 to 0.55, that makes the least output error.

    The error, once rounded, of a row's group is that of its own part of the output: other groups are taken as exact.
    Shapes: weight (out, in) float32; gram (in, in) -> (out, in). Source: arXiv:2306.00978 (llm-awq's clip search).
    """
    size = columns_per_group(weight.shape[-1], group_size)
    # The diagonal blocks of the gram, a group's inputs with each other: (groups, size, size).
    blocks = gram.view(len(gram) // size, size, -1, size).diagonal(dim1=0, dim2=2).permute(2, 0, 1).contiguous()
    grouped = by_group(weight, size)
    largest = grouped.abs().amax(-1)
    least = torch.full_like(largest, torch.inf)
    bound = largest.clone()
    for step in range(10):
        limit = largest * (1 - step / 20)
        cut = grouped.clamp(-limit.unsqueeze(-1), limit.unsqueeze(-1)).flatten(1)
        grid = fit_grid(cut, bits=bits, group_size=size, symmetric=symmetric, dtype=dtype)
        change = by_group(grid.values(grid.offsets(cut)) - weight, size).transpose(0, 1)  # (groups, out, size)
        error = (torch.bmm(change, blocks) * change).sum(-1).T
        better = error < least
        least = torch.where(better, error, least)
        bound = torch.where(better, limit, bound)
    return grouped.clamp(-bound.unsqueeze(-1), bound.unsqueeze(-1)).flatten(1)
