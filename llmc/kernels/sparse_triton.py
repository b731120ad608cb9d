"""y = W x for an unstructured sparse W stored as values and 4-bit gaps, for one to a few rows of x; and W itself."""

from __future__ import annotations

from llmc.kernels.triton_compat import jit, tl


@jit
def columns_spanned(g):
    """How many columns a lane's eight entries span; g (lanes,) int32, a gap in each four bits."""
    pairs = (g & 0x0F0F0F0F) + ((g >> 4) & 0x0F0F0F0F)
    pairs = pairs + (pairs >> 8)
    return ((pairs + (pairs >> 16)) & 0xFF) + 8


@jit
def gap_matvec_kernel(x, values, gaps, starts, out, n_out, x_stride, LANES: tl.constexpr, STAGES: tl.constexpr):
    """One row of W, by one warp, for one row of x. Grid: (n_out, rows of x).

    A block is 8 LANES values: value 2 p + h of lane l stands at half h of word p * LANES + l, and the lane's eight gaps
    in one word, lowest first. A gap is how many columns are skipped before the value. starts (n_out + 1,) int32 in
    blocks. x (rows, x_stride) is filled up with zeros for as far as a last block's padding may reach, so that nothing
    is masked. out (rows, n_out).
    """
    row, m = tl.program_id(0), tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, LANES)
    x += m * x_stride
    first = tl.load(starts + row)
    last = tl.load(starts + row + 1)
    col = 0
    acc = tl.zeros((LANES,), tl.float32)
    for block in tl.range(first, last, num_stages=STAGES):
        g = tl.load(gaps + block * LANES + lane, eviction_policy="evict_first")
        total = columns_spanned(g)
        c = tl.cumsum(total, 0) - total + col
        col += tl.sum(total, 0)
        for p in tl.static_range(4):
            word = tl.load(values + (block * 4 + p) * LANES + lane, eviction_policy="evict_first")
            for h in tl.static_range(2):
                c += (g >> (8 * p + 4 * h)) & 15
                value = (word >> (16 * h)).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
                acc += value * tl.load(x + c).to(tl.float32)
                c += 1
    tl.store(out + m * n_out + row, tl.sum(acc, 0).to(out.dtype.element_ty))


@jit
def gap_dense_kernel(values, gaps, starts, out, n_in, LANES: tl.constexpr, STAGES: tl.constexpr):
    """One row of W, by one warp, written where it belongs; out (n_out, n_in) is all 0. Grid: (n_out,).

    Entries as for `gap_matvec_kernel`. Zeros are not written: they bridge gaps, or fill a last block beyond n_in.
    """
    row = tl.program_id(0)
    lane = tl.arange(0, LANES)
    out += row.to(tl.int64) * n_in
    first = tl.load(starts + row)
    last = tl.load(starts + row + 1)
    col = 0
    for block in tl.range(first, last, num_stages=STAGES):
        g = tl.load(gaps + block * LANES + lane, eviction_policy="evict_first")
        total = columns_spanned(g)
        c = tl.cumsum(total, 0) - total + col
        col += tl.sum(total, 0)
        for p in tl.static_range(4):
            word = tl.load(values + (block * 4 + p) * LANES + lane, eviction_policy="evict_first")
            for h in tl.static_range(2):
                c += (g >> (8 * p + 4 * h)) & 15
                bits = (word >> (16 * h)).to(tl.int16)
                value = bits.to(tl.float16, bitcast=True).to(tl.float32)
                tl.store(out + c, value.to(out.dtype.element_ty), mask=bits != 0)
                c += 1
