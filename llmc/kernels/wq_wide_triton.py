"""y = x W^T for pair-planar W and 17 to some hundreds of rows of x, and W written out for more than that.

With many rows it is cheaper to scale each weight once than every sum of every group: (1024 + code) - (1024 + zero) is
exact in float16, and the product with the scale is the float16 weight that a dequantised matrix would hold.
"""

from __future__ import annotations

from llmc.kernels.triton_compat import jit, tl
from llmc.kernels.wq_triton import plane_of, store_shares


@jit
def raised_plane(w0, w1, w2, J: tl.constexpr, BITS: tl.constexpr, ASM: tl.constexpr):
    """1024 + code of plane J, as a (rows, 2 KW) float16 tile."""
    place: tl.constexpr = 0 if J == 15 and BITS == 3 else (3 * (J % 5) if BITS == 3 else BITS * J)
    return plane_of(w0, w1, w2, J, 0, place, BITS, True, ASM)


@jit
def load_words(at, KW: tl.constexpr, BITS: tl.constexpr):
    """The words of a step; three tiles for 3 bits, else the same one three times."""
    w0 = tl.load(at)
    w1 = w0
    w2 = w0
    if BITS == 3:
        w1 = tl.load(at + KW)
        w2 = tl.load(at + 2 * KW)
    return w0, w1, w2


@jit
def raised_zero(zero, at, BN: tl.constexpr, BITS: tl.constexpr, HAS_ZERO: tl.constexpr):
    """1024 + the zero points at `at`, in float32."""
    if HAS_ZERO:
        return tl.load(zero + at).to(tl.float32) + 1024.0
    return tl.full((BN,), 1024 + (1 << (BITS - 1)), tl.float32)


@jit
def wq_wide_kernel(
    x, words, scale, zero, out, partial, arrived, gain,
    n_in, n_out, n_padded, n_rows, rows_padded, n_steps, steps_per_split,
    BITS: tl.constexpr, KW: tl.constexpr, SUBS: tl.constexpr, BN: tl.constexpr, BM: tl.constexpr,
    SPLIT: tl.constexpr, GROUP_STEPS: tl.constexpr, HAS_ZERO: tl.constexpr, ASM: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """One tile of BN outputs by BM rows and one share of the steps. Grid: (n_padded / BN, rows_padded / BM, SPLIT).

    x (rows_padded, n_in) float16, filled up with zeros. Zero points must be whole numbers, so that 1024 + zero is exact
    in float16. The rest as in `wq_narrow_kernel`.
    """
    n_planes: tl.constexpr = 16 if BITS == 3 else 16 // BITS
    row_words: tl.constexpr = 3 * KW if BITS == 3 else KW
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    share = tl.program_id(2)
    first = share * steps_per_split
    last = tl.minimum(first + steps_per_split, n_steps)
    w_at = words + n.to(tl.int64)[:, None] * (n_steps * row_words) + tl.arange(0, KW)[None, :]
    x_at = x + tl.arange(0, 2 * KW)[:, None] + m.to(tl.int64)[None, :] * n_in
    acc = tl.zeros((BN, BM), tl.float32)
    for step in tl.range(first, last, num_stages=STAGES):
        w0, w1, w2 = load_words(w_at + step * row_words, KW, BITS)
        xs_at = x_at + step * (2 * KW * n_planes)
        for sub in tl.static_range(SUBS):
            unit = step * SUBS + sub
            group = unit if GROUP_STEPS == 1 else (step // GROUP_STEPS if GROUP_STEPS else 0)
            s = tl.load(scale + group * n_padded + n)
            z = raised_zero(zero, group * n_padded + n, BN, BITS, HAS_ZERO)
            for j in tl.static_range(sub * (n_planes // SUBS), (sub + 1) * (n_planes // SUBS)):
                tile = raised_plane(w0, w1, w2, j, BITS, ASM)
                tile = (tile - z.to(tl.float16)[:, None]) * s[:, None]
                acc = tl.dot(tile, tl.load(xs_at + j * 2 * KW), acc)
    tile_id = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    store_shares(acc * gain, n, m, tile_id, share, out, partial, arrived, n_out, n_padded, n_rows, rows_padded, SPLIT)


@jit
def dequantise_kernel(
    words, scale, zero, out, gain, n_in, n_out, n_padded, n_steps,
    BITS: tl.constexpr, KW: tl.constexpr, SUBS: tl.constexpr, BN: tl.constexpr, GROUP_STEPS: tl.constexpr,
    HAS_ZERO: tl.constexpr,
):  # fmt: skip
    """One step of BN rows of the dense matrix, out (n_out, n_in). Grid: (n_padded / BN, n_steps)."""
    n_planes: tl.constexpr = 16 if BITS == 3 else 16 // BITS
    row_words: tl.constexpr = 3 * KW if BITS == 3 else KW
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    step = tl.program_id(1)
    w_at = words + n.to(tl.int64)[:, None] * (n_steps * row_words) + step * row_words + tl.arange(0, KW)[None, :]
    w0, w1, w2 = load_words(w_at, KW, BITS)
    k = step * (2 * KW * n_planes) + tl.arange(0, 2 * KW)
    for j in tl.static_range(n_planes):
        unit = step * SUBS + j // (n_planes // SUBS)
        group = unit if GROUP_STEPS == 1 else (step // GROUP_STEPS if GROUP_STEPS else 0)
        s = tl.load(scale + group * n_padded + n).to(tl.float32) * gain
        z = raised_zero(zero, group * n_padded + n, BN, BITS, HAS_ZERO)
        value = (raised_plane(w0, w1, w2, j, BITS, False).to(tl.float32) - z[:, None]) * s[:, None]
        at = k + j * 2 * KW
        inside = (n[:, None] < n_out) & (at[None, :] < n_in)
        tl.store(out + n.to(tl.int64)[:, None] * n_in + at[None, :], value.to(out.dtype.element_ty), mask=inside)
