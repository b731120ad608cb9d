"""A block of the column sweep of GPTQ and SparseGPT in one launch: settle, feed back, settle the next.

All matrices are transposed, (columns, rows), and a lane of the GPU owns one row. The 16 columns of a sub-block lie in
that lane's registers, so that nothing is exchanged between lanes. Products and sums are rounded one by one, divisions
as IEEE 754 has them: the codes are those of the plain loop, ties included. Launch with enable_fp_fusion=False.
"""

from __future__ import annotations

from llmc.kernels.triton_compat import jit, jit_unspecialised, tl


@jit
def row_of(tile, k, INDEX: tl.constexpr):
    """Row INDEX of a (SB, RB) float32 tile: a sum of integers with one term, which becomes a register move."""
    bits = tl.where(k[:, None] == INDEX, tile.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, 0).to(tl.float32, bitcast=True)


@jit
def divided(dividend, divisor, inverse):
    """dividend / divisor, rounded as IEEE 754 has it, given the rounded inverse of the divisor.

    Source: Markstein 1990, IBM J. Res. Dev. 34(1), on division by a rounded inverse. The compiler's own division calls
    a slow path, around which it would spill. Deviation: no care for quotients beyond 1e30 or far below a half.
    """
    quotient = dividend * inverse
    quotient = tl.fma(tl.fma(-quotient, divisor, dividend), inverse, quotient)
    return tl.fma(tl.fma(-quotient, divisor, dividend), inverse, quotient)


@jit
def chosen(current, short, keep, k, gain, cost, c0, ld_gain, START: tl.constexpr, KEEP: tl.constexpr, OF: tl.constexpr):
    """`keep` with the choice for columns START … START + OF made: the KEEP highest scores of each row stay.

    What the weights would be if all columns before were settled and none of these pruned comes of a triangular
    system; of equal scores the lower column is dropped, and what was pruned before comes before everything.
    """
    within = (k >= START) & (k < START + OF)
    heard = current - short
    for j in tl.static_range(START, START + OF):
        row = row_of(heard, k, j)
        passed = tl.load(gain + (c0 + j) * ld_gain + c0 + k)
        heard = tl.where((within & (k > j))[:, None], heard - row[None, :] * passed[:, None], heard)
    running = short + heard
    score = running * running * tl.load(cost + c0 + k)[:, None]
    score = tl.where(keep > 0.0, score, -1.0)
    rank = tl.zeros(current.shape, tl.int32)
    for j in tl.static_range(START, START + OF):
        other = row_of(score, k, j)[None, :]
        rank += ((other < score) | ((other == score) & (k > j)[:, None])).to(tl.int32)
    return tl.where(within[:, None] & (rank < OF - KEEP), 0.0, keep)


@jit
def rounded(w, scale, inverse, lowest, BITS: tl.constexpr, SYMMETRIC: tl.constexpr):
    """The nearest whole number of scales that the grid has, ties to even, by a sum that has no room for fractions."""
    w = (divided(w, scale, inverse) + 12582912.0) - 12582912.0
    if SYMMETRIC:
        return tl.minimum(tl.maximum(w, -(1 << (BITS - 1))), (1 << (BITS - 1)) - 1)
    else:
        return tl.minimum(tl.maximum(w, lowest), lowest + ((1 << BITS) - 1))


@jit
def pass_on(current, S, gain, r, k, c0, c1, ld, ld_gain, SB: tl.constexpr):
    """Feeds the shortfalls of the sub-block at c0 to that at c1, one column after the other."""
    later = (c1 + k).to(tl.int64)[:, None] * ld + r[None, :]
    V = tl.load(current + later)
    for i in tl.static_range(SB):
        passed = tl.load(gain + (c0 + i) * ld_gain + c1 + k)
        V += row_of(S, k, i)[None, :] * passed[:, None]
    tl.store(current + later, V)


@jit_unspecialised("ld")
def sweep_block_kernel(
    current, short, gain, cost, keep, scale, inverse, lowest, group, ld, ld_gain, start,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, HAS_KEEP: tl.constexpr, KEEP: tl.constexpr, OF: tl.constexpr,
    N_SUBS: tl.constexpr, SB: tl.constexpr, RB: tl.constexpr,
):  # fmt: skip
    """Settles columns [start, start + N_SUBS * SB) for RB rows. Grid: (rows / RB,).

    All matrices are filled up to whole blocks, so nothing is masked: a mask on the loads of `gain` alone makes the
    compiler spill. current (columns, ld) float32 holds weights with all feedback from columns before `start`, and gets
    the results: weights or, where BITS is not 0, whole numbers (code - zero). short, the same shape, holds the original
    weights and gets by how much the results fall short of them. keep, the same shape, uint8, is read where HAS_KEEP or
    OF, and gets the choice where OF. scale, inverse, lowest (groups, ld) and group (columns,) int32 serve where BITS is
    not 0.
    """
    r = tl.program_id(0) * RB + tl.arange(0, RB)
    k = tl.arange(0, SB)
    for sub in tl.range(0, N_SUBS, num_stages=1, loop_unroll_factor=1):
        c0 = start + sub * SB
        at = (c0 + k).to(tl.int64)[:, None] * ld + r[None, :]
        tl.debug_barrier()  # other threads may have stored what is loaded next
        T = tl.load(current + at)
        S = tl.load(short + at)
        if HAS_KEEP or OF > 0:
            kept = tl.load(keep + at).to(tl.float32)
        if BITS > 0:
            of_group = tl.load(group + c0 + k).to(tl.int64)[:, None] * ld + r[None, :]
            step = tl.load(scale + of_group)
            inv = tl.load(inverse + of_group)
            low = step if SYMMETRIC else tl.load(lowest + of_group)
        for i in tl.static_range(SB):
            if OF > 0:
                if i % OF == 0:
                    kept = chosen(T, S, kept, k, gain, cost, c0, ld_gain, i, KEEP, OF)
                if i % 4 == 0:
                    tl.debug_barrier()  # or the compiler loads all of gain at once, and spills
            w = row_of(T, k, i)
            if BITS > 0:
                s = row_of(step, k, i)
                w = rounded(w, s, row_of(inv, k, i), row_of(low, k, i), BITS, SYMMETRIC)
            if HAS_KEEP or OF > 0:
                w = w * row_of(kept, k, i)
            fell = row_of(S, k, i) - (w * s if BITS > 0 else w)
            passed = tl.load(gain + (c0 + i) * ld_gain + c0 + k)
            T = tl.where(k[:, None] > i, T + fell[None, :] * passed[:, None], T)
            T = tl.where(k[:, None] == i, w[None, :], T)
            S = tl.where(k[:, None] == i, fell[None, :], S)
        tl.store(current + at, T)
        tl.store(short + at, S)
        if OF > 0:
            tl.store(keep + at, kept.to(tl.uint8))
        for after in tl.range(sub + 1, N_SUBS, num_stages=1, loop_unroll_factor=1):
            pass_on(current, S, gain, r, k, c0, start + after * SB, ld, ld_gain, SB)
