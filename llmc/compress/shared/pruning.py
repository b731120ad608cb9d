"""What every pruning method shares: its two settings, the choice by score, and the result."""

from __future__ import annotations

import math

from torch import Tensor

from llmc.compress.method import Compressed
from llmc.errors import UserError
from llmc.kernels.choose import drop_lowest, keep_n_of_m
from llmc.ops.bits import pruned_bits
from llmc.ops.masks import Pattern, parse_pattern

DEFAULT_SPARSITY = 0.5


def check_sparsity(sparsity: float, pattern: str | None) -> None:
    """`UserError` unless the sparsity is in [0, 1), the pattern reads N:M, and the two don't contradict each other."""
    if not 0 <= sparsity < 1:
        raise UserError(f"sparsity must be in [0, 1), got {sparsity}", hint="0.5 removes half of the weights")
    if pattern is None:
        return
    keep, of = parse_pattern(pattern)
    if sparsity != DEFAULT_SPARSITY and not math.isclose(sparsity, 1 - keep / of):
        raise UserError(
            f"pattern {pattern} means sparsity {1 - keep / of:g}, but sparsity is {sparsity}",
            hint="give one of the two",
        )


def pattern_of(pattern: str | None) -> Pattern | None:
    """The pattern of a setting that may be unset."""
    return None if pattern is None else parse_pattern(pattern)


def kept(score: Tensor, sparsity: float, pattern: Pattern | None, keep: Tensor | None) -> Tensor:
    """True where a weight stays, by row and by score (at least 0); what an earlier stage pruned is dropped first.

    Shapes: score, keep and the result (rows, width).
    """
    if keep is not None:
        score = score.masked_fill(~keep, -1.0)
    chosen = drop_lowest(score, sparsity) if pattern is None else keep_n_of_m(score, pattern)
    return chosen if keep is None else chosen & keep


def pruned(
    weight: Tensor,
    keep: Tensor,
    pattern: Pattern | None,
    *,
    damping: float | None = None,
    warnings: tuple[str, ...] = (),
) -> Compressed:
    """`weight` with exact zeros where `keep` is False, and what a mask and the kept values take."""
    density = int(keep.count_nonzero()) / keep.numel()
    return Compressed(
        weight=weight.masked_fill(~keep, 0),
        bits_per_weight=pruned_bits(density, 8 * weight.element_size(), pattern),
        keep=keep,
        damping=damping,
        warnings=warnings,
    )
