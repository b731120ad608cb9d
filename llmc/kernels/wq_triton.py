"""y = x W^T for pair-planar W of 2, 3, 4 or 8 bits and at most 16 rows of x, as W x^T on tensor cores.

The dequantised weights are the register operand of the tensor core, so they are never written anywhere. Masked bits
are used as they stand: code * 2**offset in the mantissa of a float16 is the subnormal code * 2**(offset - 24), and one
exact factor per group turns the sums into what they should be. Where a device flushes subnormals, MAGIC makes 1024 +
code of them instead and takes the 1024 off again through the sums of x, which the zero points need anyway.
"""

from __future__ import annotations

from llmc.kernels.triton_compat import jit, tl


@jit
def pair(words, SHIFT: tl.constexpr, MASK: tl.constexpr, MAGIC: tl.constexpr, ASM: tl.constexpr):
    """Two neighbours from each word as float16: (low half, high half)."""
    if ASM:
        if SHIFT > 0:
            words = words >> SHIFT
        if MAGIC:
            return tl.inline_asm_elementwise(
                "{.reg .b32 a; and.b32 a, $2, $3; or.b32 a, a, 0x64006400; mov.b32 {$0,$1}, a;}",
                "=h,=h,r,r",
                [words, MASK * 65537],
                dtype=(tl.float16, tl.float16),
                is_pure=True,
                pack=1,
            )
        return tl.inline_asm_elementwise(
            "{.reg .b32 a; and.b32 a, $2, $3; mov.b32 {$0,$1}, a;}",
            "=h,=h,r,r",
            [words, MASK * 65537],
            dtype=(tl.float16, tl.float16),
            is_pure=True,
            pack=1,
        )
    low = (words >> SHIFT) & MASK
    high = (words >> (SHIFT + 16)) & MASK
    if MAGIC:
        low = low | 0x6400
        high = high | 0x6400
    return low.to(tl.int16).to(tl.float16, bitcast=True), high.to(tl.int16).to(tl.float16, bitcast=True)


@jit
def plane(words, SHIFT: tl.constexpr, MASK: tl.constexpr, OFFSET: tl.constexpr, MAGIC: tl.constexpr, ASM: tl.constexpr):
    """The plane at bit SHIFT + OFFSET of each half, as a (rows, 2 KW) tile of code * 2**OFFSET (MAGIC: 1024 + code)."""
    if MAGIC:
        low, high = pair(words, SHIFT + OFFSET, MASK, True, ASM)
    else:
        low, high = pair(words, SHIFT, MASK << OFFSET, False, ASM)
    return tl.join(low, high).reshape(words.shape[0], 2 * words.shape[1])


@jit
def plane_of(
    w0, w1, w2, J: tl.constexpr, SHIFT: tl.constexpr, OFFSET: tl.constexpr, BITS: tl.constexpr,
    MAGIC: tl.constexpr, ASM: tl.constexpr,
):  # fmt: skip
    """Plane J of a step. Words w1 and w2 are there for 3 bits only."""
    if BITS == 3:
        if J == 15:
            top = ((w0 >> 15) & 0x00010001) | ((w1 >> 14) & 0x00020002) | ((w2 >> 13) & 0x00040004)
            return plane(top, 0, 7, 0, MAGIC, ASM)
        elif J // 5 == 0:
            return plane(w0, SHIFT, 7, OFFSET, MAGIC, ASM)
        elif J // 5 == 1:
            return plane(w1, SHIFT, 7, OFFSET, MAGIC, ASM)
        else:
            return plane(w2, SHIFT, 7, OFFSET, MAGIC, ASM)
    else:
        return plane(w0, SHIFT, (1 << BITS) - 1, OFFSET, MAGIC, ASM)


@jit
def planes_dot(
    w0, w1, w2, x, FIRST: tl.constexpr, COUNT: tl.constexpr, BITS: tl.constexpr, BM: tl.constexpr,
    MAGIC: tl.constexpr, ASM: tl.constexpr,
):  # fmt: skip
    """The sum over planes FIRST … of code * x * 2**-24 (MAGIC: of (1024 + code) * x).

    x points at (2 KW, BM) activations of plane 0. Planes of unlike offsets have accumulators of their own.
    """
    width: tl.constexpr = 2 * w0.shape[1]
    p0 = tl.zeros((w0.shape[0], BM), tl.float32)
    p1 = p0
    p2 = p0
    p3 = p0
    for j in tl.static_range(FIRST, FIRST + COUNT):
        xj = tl.load(x + j * width)
        if BITS == 8:
            p0 = tl.dot(plane_of(w0, w1, w2, j, 8 * j, 0, BITS, MAGIC, ASM), xj, p0)
        elif BITS == 4:
            tile = plane_of(w0, w1, w2, j, 8 * (j // 2), 4 * (j % 2), BITS, MAGIC, ASM)
            if j % 2 == 0:
                p0 = tl.dot(tile, xj, p0)
            else:
                p1 = tl.dot(tile, xj, p1)
        elif BITS == 3:
            tile = plane_of(w0, w1, w2, j, 9 * (j % 5 // 3), 3 * (j % 5 % 3), BITS, MAGIC, ASM)
            if j == 15 or j % 5 % 3 == 0:
                p0 = tl.dot(tile, xj, p0)
            elif j % 5 % 3 == 1:
                p1 = tl.dot(tile, xj, p1)
            else:
                p2 = tl.dot(tile, xj, p2)
        else:
            tile = plane_of(w0, w1, w2, j, 8 * (j // 4), 2 * (j % 4), BITS, MAGIC, ASM)
            if j % 4 == 0:
                p0 = tl.dot(tile, xj, p0)
            elif j % 4 == 1:
                p1 = tl.dot(tile, xj, p1)
            elif j % 4 == 2:
                p2 = tl.dot(tile, xj, p2)
            else:
                p3 = tl.dot(tile, xj, p3)
    if MAGIC:
        return p0 + p1 + p2 + p3
    if BITS == 4:
        return p0 + p1 * 0.0625
    if BITS == 3:
        return p0 + 0.125 * (p1 + 0.125 * p2)
    if BITS == 2:
        return p0 + 0.25 * (p1 + 0.25 * (p2 + 0.25 * p3))
    return p0


@jit
def wq_narrow_kernel(
    x, words, scale, zero, xsum, out, partial, arrived, gain,
    n_in, n_out, n_padded, n_rows, n_steps, steps_per_split,
    BITS: tl.constexpr, KW: tl.constexpr, SUBS: tl.constexpr, BN: tl.constexpr, BM: tl.constexpr,
    SPLIT: tl.constexpr, GROUP_STEPS: tl.constexpr, HAS_ZERO: tl.constexpr, MAGIC: tl.constexpr, ASM: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """One tile of BN outputs and one share of the steps. Grid: (n_padded / BN, SPLIT).

    x (BM, n_in) float16 and xsum (n_steps * SUBS, BM) float32, both filled up with zeros; out (n_rows, n_out); partial
    (SPLIT, BM, n_padded) float32; arrived (n_padded / BN) int32, zeros before and after. With SPLIT > 1 whoever
    arrives last adds up the shares in their order: the same sum whoever that is. GROUP_STEPS: steps in a group, 1 if a
    step has several groups, 0 if a row is one group.
    """
    n_planes: tl.constexpr = 16 if BITS == 3 else 16 // BITS
    row_words: tl.constexpr = 3 * KW if BITS == 3 else KW
    tile, share = tl.program_id(0), tl.program_id(1)
    n = tile * BN + tl.arange(0, BN)
    m = tl.arange(0, BM)
    first = share * steps_per_split
    last = tl.minimum(first + steps_per_split, n_steps)
    w_at = words + n.to(tl.int64)[:, None] * (n_steps * row_words) + tl.arange(0, KW)[None, :]
    x_at = x + tl.arange(0, 2 * KW)[:, None] + m[None, :] * n_in
    acc = tl.zeros((BN, BM), tl.float32)
    for step in tl.range(first, last, num_stages=STAGES):
        w0 = tl.load(w_at + step * row_words, eviction_policy="evict_first")
        w1 = w0
        w2 = w0
        if BITS == 3:
            w1 = tl.load(w_at + step * row_words + KW, eviction_policy="evict_first")
            w2 = tl.load(w_at + step * row_words + 2 * KW, eviction_policy="evict_first")
        xs_at = x_at + step * (2 * KW * n_planes)
        for sub in tl.static_range(SUBS):
            unit = step * SUBS + sub
            group = unit if GROUP_STEPS == 1 else (step // GROUP_STEPS if GROUP_STEPS else 0)
            s = tl.load(scale + group * n_padded + n, eviction_policy="evict_last").to(tl.float32) * gain
            if HAS_ZERO:
                z = tl.load(zero + group * n_padded + n, eviction_policy="evict_last").to(tl.float32)
            else:
                z = tl.full((BN,), 1 << (BITS - 1), tl.float32)
            total = planes_dot(w0, w1, w2, xs_at, sub * (n_planes // SUBS), n_planes // SUBS, BITS, BM, MAGIC, ASM)
            around = tl.load(xsum + unit * BM + m)
            if MAGIC:
                acc += s[:, None] * total
                acc -= (s * (z + 1024.0))[:, None] * around[None, :]
            else:
                acc += (s * 16777216.0)[:, None] * total
                acc -= (s * z)[:, None] * around[None, :]
    store_shares(acc, n, m, tile, share, out, partial, arrived, n_out, n_padded, n_rows, BM, SPLIT)


@jit
def store_shares(
    acc, n, m, tile, share, out, partial, arrived, n_out, n_padded, n_rows, rows_padded, SPLIT: tl.constexpr
):
    """Writes y^T, or this program's share of it and, if all others have arrived, the sum of all shares in order."""
    out_at = out + m[None, :].to(tl.int64) * n_out + n[:, None]
    inside = (n[:, None] < n_out) & (m[None, :] < n_rows)
    if SPLIT == 1:
        tl.store(out_at, acc.to(out.dtype.element_ty), mask=inside)
    else:
        at = partial + m[None, :].to(tl.int64) * n_padded + n[:, None]
        apart = n_padded.to(tl.int64) * rows_padded
        tl.store(at + share * apart, acc)
        tl.debug_barrier()  # every thread's stores come before the one thread's release below
        if tl.atomic_add(arrived + tile, 1, sem="acq_rel") == SPLIT - 1:
            total = tl.load(at, cache_modifier=".cg")
            for other in tl.static_range(1, SPLIT):
                total += tl.load(at + other * apart, cache_modifier=".cg")
            tl.store(out_at, total.to(out.dtype.element_ty), mask=inside)
            tl.store(arrived + tile, 0)


@jit
def prepare_kernel(x, x16, xsum, n_in, n_rows, stride, width, rows_padded, UNIT: tl.constexpr):
    """x as float16, filled up with zeros and held to +-65504, and its sums over units.

    Grid: (width / UNIT, rows_padded). x16 (rows_padded, width) float16; xsum (width / UNIT, rows_padded) float32 sums
    what x16 holds.
    """
    unit, m = tl.program_id(0), tl.program_id(1)
    k = unit * UNIT + tl.arange(0, UNIT)
    width_here = tl.where(m < n_rows, n_in, 0)
    value = tl.load(x + m.to(tl.int64) * stride + k, mask=k < width_here, other=0.0).to(tl.float32)
    value = tl.where(value > 65504.0, 65504.0, tl.where(value < -65504.0, -65504.0, value))  # NaN stays NaN
    half = value.to(tl.float16)
    tl.store(x16 + m.to(tl.int64) * width + k, half)
    tl.store(xsum + unit * rows_padded + m, tl.sum(half.to(tl.float32), 0))
