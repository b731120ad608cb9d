"""y = x W^T for codes that stand for no affine grid: 4-bit tables, and sums of signed binary planes (BCQ)."""

from __future__ import annotations

from llmc.kernels.triton_compat import jit, tl
from llmc.kernels.wq_triton import plane, store_shares


@jit
def table_kernel(
    x, words, table, out, partial, arrived,
    n_in, n_out, n_padded, n_rows, n_steps, steps_per_split,
    KW: tl.constexpr, BN: tl.constexpr, BM: tl.constexpr, SPLIT: tl.constexpr, GROUP_STEPS: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """One tile of BN outputs and one share of the steps; W = table[row, code]. Grid: (n_padded / BN, SPLIT).

    words: 4-bit codes, pair-planar. table (groups, n_padded, 16) float16; GROUP_STEPS: steps in a group, 0 where a row
    is one group. The table lies in registers, a look-up is a shuffle. The rest as in `wq_narrow_kernel`.
    """
    tile, share = tl.program_id(0), tl.program_id(1)
    n = tile * BN + tl.arange(0, BN)
    m = tl.arange(0, BM)
    first = share * steps_per_split
    last = tl.minimum(first + steps_per_split, n_steps)
    entry = n.to(tl.int64)[:, None] * 16 + tl.arange(0, 16)[None, :]
    w_at = words + n.to(tl.int64)[:, None] * (n_steps * KW) + tl.arange(0, KW)[None, :]
    x_at = x + tl.arange(0, 2 * KW)[:, None] + m[None, :] * n_in
    acc = tl.zeros((BN, BM), tl.float32)
    values = tl.load(table + entry)
    for step in tl.range(first, last, num_stages=STAGES):
        w = tl.load(w_at + step * KW, eviction_policy="evict_first")
        if GROUP_STEPS > 0:
            values = tl.load(table + (step // GROUP_STEPS) * (n_padded * 16) + entry)
        for j in tl.static_range(4):
            low = tl.gather(values, (w >> (4 * j)) & 15, 1)
            high = tl.gather(values, (w >> (4 * j + 16)) & 15, 1)
            decoded = tl.join(low, high).reshape(BN, 2 * KW)
            acc = tl.dot(decoded, tl.load(x_at + step * (8 * KW) + j * 2 * KW), acc)
    store_shares(acc, n, m, tile, share, out, partial, arrived, n_out, n_padded, n_rows, BM, SPLIT)


@jit
def bits_dot(w, x, FIRST: tl.constexpr, COUNT: tl.constexpr, BM: tl.constexpr, ASM: tl.constexpr):
    """The sum over planes FIRST … of bit * x * 2**-24, for 1-bit pair-planar words."""
    p0 = tl.zeros((w.shape[0], BM), tl.float32)
    p1 = p0
    p2 = p0
    p3 = p0
    for j in tl.static_range(FIRST, FIRST + COUNT):
        xj = tl.load(x + j * 2 * w.shape[1])
        bits = plane(w, 4 * (j // 4), 1, j % 4, False, ASM)
        if j % 4 == 0:
            p0 = tl.dot(bits, xj, p0)
        elif j % 4 == 1:
            p1 = tl.dot(bits, xj, p1)
        elif j % 4 == 2:
            p2 = tl.dot(bits, xj, p2)
        else:
            p3 = tl.dot(bits, xj, p3)
    return p0 + 0.5 * (p1 + 0.5 * (p2 + 0.5 * p3))


@jit
def bcq_kernel(
    x, words, alpha, offset, xsum, out, partial, arrived,
    n_in, n_out, n_padded, n_rows, n_steps, steps_per_split, n_groups,
    Q: tl.constexpr, KW: tl.constexpr, SUBS: tl.constexpr, BN: tl.constexpr, BM: tl.constexpr, SPLIT: tl.constexpr,
    ASM: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """W = sum_b alpha_b (2 bit_b - 1) + bias by group. Grid: (n_padded / BN, SPLIT).

    words (Q, n_padded, n_steps * KW) int32, 1-bit pair-planar; alpha (Q, groups, n_padded); offset (groups, n_padded)
    float32 is bias - sum_b alpha_b, which meets the sums of x. A step has SUBS groups. The rest as in
    `wq_narrow_kernel`.
    """
    tile, share = tl.program_id(0), tl.program_id(1)
    n = tile * BN + tl.arange(0, BN)
    m = tl.arange(0, BM)
    first = share * steps_per_split
    last = tl.minimum(first + steps_per_split, n_steps)
    w_at = words + n.to(tl.int64)[:, None] * (n_steps * KW) + tl.arange(0, KW)[None, :]
    x_at = x + tl.arange(0, 2 * KW)[:, None] + m[None, :] * n_in
    plane_words = n_padded.to(tl.int64) * (n_steps * KW)
    acc = tl.zeros((BN, BM), tl.float32)
    for step in tl.range(first, last, num_stages=STAGES):
        for b in tl.static_range(Q):
            w = tl.load(w_at + b * plane_words + step * KW, eviction_policy="evict_first")
            for sub in tl.static_range(SUBS):
                group = step * SUBS + sub
                a = tl.load(alpha + (b * n_groups + group) * n_padded + n).to(tl.float32) * 33554432.0  # 2 * 2**24
                total = bits_dot(w, x_at + step * (32 * KW), sub * (16 // SUBS), 16 // SUBS, BM, ASM)
                acc += a[:, None] * total
        for sub in tl.static_range(SUBS):
            group = step * SUBS + sub
            beside = tl.load(offset + group * n_padded + n)
            acc += beside[:, None] * tl.load(xsum + group * BM + m)[None, :]
    store_shares(acc, n, m, tile, share, out, partial, arrived, n_out, n_padded, n_rows, BM, SPLIT)
