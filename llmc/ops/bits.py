"""Storage in bits per weight, in closed form: what the best plain layout of a result takes."""

from __future__ import annotations

import math

from llmc.ops.masks import Pattern


def mask_bits(pattern: Pattern | None = None) -> float:
    """Bits per weight that say which weights are there: a bit each, or the positions of the kept if they are shorter.

    2:4 stores two 2-bit positions for four weights, 1 bit a weight; 1:4 stores one, half a bit a weight.
    """
    if pattern is None:
        return 1.0
    return min(1.0, pattern.keep * math.ceil(math.log2(pattern.of)) / pattern.of)


def pruned_bits(density: float, value_bits: float, pattern: Pattern | None = None) -> float:
    """Bits per weight if `density` of them is kept: a mask and the kept values, or all values if that is less."""
    return min(value_bits, mask_bits(pattern) + density * value_bits)


def grid_bits(group_size: int, scale_bits: int, zero_bits: int) -> float:
    """Bits per weight that the scales and zero points of groups of `group_size` weights take."""
    return (scale_bits + zero_bits) / group_size


def factor_bits(out_width: int, in_width: int, rank: int, value_bits: float) -> float:
    """Bits per original weight of two factors of the given rank."""
    return rank * (out_width + in_width) * value_bits / (out_width * in_width)
