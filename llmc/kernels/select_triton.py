"""Exactly the k lowest of a row or of a block, and N of every M, without sorting: thresholds by bisection of bits.

The bits of a non-negative float are ordered as its value is, so a threshold is found bit by bit, from the top, by
counting. Of equal scores the lowest index goes first, which is what a stable sort does.
"""

from __future__ import annotations

from llmc.kernels.triton_compat import jit, tl


@jit
def ordered(score):
    """Integers that compare as the float32 scores do; -0 is 0."""
    bits = (score + 0.0).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@jit
def threshold(key, inside, n_lowest):
    """The n_lowest-th lowest key: 32 halvings, each one count. The sign first, then the magnitude's bits."""
    negative = tl.sum((inside & (key < 0)).to(tl.int32), 0)
    low = tl.where(negative < n_lowest, 0, -2147483648)
    for s in tl.static_range(31):
        t = low + (1 << (30 - s))
        below = tl.sum((inside & (key < t)).to(tl.int32), 0)
        low = tl.where(below < n_lowest, t, low)
    return low


@jit
def lowest_kernel(
    score, cost, keep, width, n_lowest, row_stride,
    HAS_COST: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """keep[row] = False for the n_lowest scores of the row, True for the others. Grid: (rows,).

    score (rows, row_stride) of any float type; with HAS_COST it is a weight, and |weight| * cost[column] is the score.
    keep (rows, width) uint8. BK: the power of two at or above width.
    """
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BK)
    inside = k < width
    value = tl.load(score + row * row_stride + k, mask=inside, other=0.0).to(tl.float32)
    if HAS_COST:
        value = tl.abs(value) * tl.load(cost + k, mask=inside, other=0.0).to(tl.float32)
    key = ordered(value)
    edge = threshold(key, inside, n_lowest)
    below = inside & (key < edge)
    tied = inside & (key == edge)
    room = n_lowest - tl.sum(below.to(tl.int32), 0)
    drop = below | (tied & (tl.cumsum(tied.to(tl.int32), 0) <= room))
    tl.store(keep + row * width + k, (~(drop & (n_lowest > 0))).to(tl.uint8), mask=inside)


@jit
def n_of_m_kernel(
    score, cost, keep, n_groups, width,
    HAS_COST: tl.constexpr, KEEP: tl.constexpr, OF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """keep = True for the KEEP highest of every OF neighbours; of equals the first is dropped. OF a power of two.

    score and keep (n_groups, OF), contiguous; cost (width,) where HAS_COST. Grid: (n_groups / BLOCK,). A lane holds a
    whole group, so that comparing needs no other lane.
    """
    g = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    j = tl.arange(0, OF)
    at = g[:, None] * OF + j[None, :]
    inside = (g < n_groups)[:, None] & (j < OF)[None, :]
    value = tl.load(score + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_COST:
        value = tl.abs(value) * tl.load(cost + at % width, mask=inside, other=0.0).to(tl.float32)
    key = ordered(value)
    rank = tl.zeros((BLOCK, OF), tl.int32)
    for i in tl.static_range(OF):
        other = tl.sum(tl.where(j[None, :] == i, key, 0), 1)[:, None]
        rank += ((other < key) | ((other == key) & (i < j)[None, :])).to(tl.int32)
    tl.store(keep + at, (rank >= OF - KEEP).to(tl.uint8), mask=inside)


@jit
def histogram_kernel(
    score, counts, n, prefix, SHIFT: tl.constexpr, BINS: tl.constexpr, PREFIX_SHIFT: tl.constexpr, BLOCK: tl.constexpr
):
    """Adds to counts (BINS,) int32 how often each digit occurs among keys whose leading bits are *prefix.

    score (n,) float. The digit is the key's bits from SHIFT up; PREFIX_SHIFT = 32 takes all keys. Grid: (n / BLOCK,).
    """
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = k < n
    value = tl.load(score + k, mask=inside, other=0.0).to(tl.float32)
    key = ordered(value).to(tl.int64) + 2147483648
    if PREFIX_SHIFT < 32:
        inside = inside & ((key >> PREFIX_SHIFT) == tl.load(prefix))
    digit = ((key >> SHIFT) & (BINS - 1)).to(tl.int32)
    found = tl.histogram(digit, BINS, mask=inside)
    tl.atomic_add(counts + tl.arange(0, BINS), found, mask=found > 0)


@jit
def block_edge_kernel(score, keep, before, edge, n, BLOCK: tl.constexpr):
    """Drops what is below the edge and, of what is equal to it, the first ones: as many as `room` says.

    score, keep (n,); before (blocks,) int64: how many keys equal to the edge stand in earlier blocks; edge (2,) int64:
    the edge's key + 2**31, and the room. Grid: (blocks,).
    """
    block = tl.program_id(0)
    k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = k < n
    key = ordered(tl.load(score + k, mask=inside, other=0.0).to(tl.float32)).to(tl.int64) + 2147483648
    at_edge = inside & (key == tl.load(edge))
    earlier = tl.load(before + block) + tl.cumsum(at_edge.to(tl.int32), 0)
    drop = (key < tl.load(edge)) | (at_edge & (earlier <= tl.load(edge + 1)))
    tl.store(keep + k, (~drop).to(tl.uint8), mask=inside)


@jit
def count_edge_kernel(score, counts, edge, n, BLOCK: tl.constexpr):
    """How many keys of each block equal the edge's. Grid: (blocks,)."""
    block = tl.program_id(0)
    k = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = k < n
    key = ordered(tl.load(score + k, mask=inside, other=0.0).to(tl.float32)).to(tl.int64) + 2147483648
    tl.store(counts + block, tl.sum((inside & (key == tl.load(edge))).to(tl.int64), 0))
