"""y = W x for an unstructured sparse W stored as values and 4-bit gaps, and one to a few rows of x."""

from __future__ import annotations

from llmc.kernels._triton_compat import jit, tl


@jit
def gap_matvec_kernel(
    x, values, gaps, starts, out, n_out, x_stride,
    ROWS: tl.constexpr, LANES: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """ROWS rows of W for one row of x. Grid: (n_out / ROWS, rows of x).

    A block is 8 LANES values: value 2 p + h of lane l stands at half h of word p * LANES + l, and the lane's eight gaps
    in one word, lowest first. A gap is how many columns are skipped before the value. starts (n_out + 1,) int32 in
    blocks. x (rows, x_stride) is filled up with zeros for as far as a last block's padding may reach. out (rows, n_out).
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    lane = tl.arange(0, LANES)
    x = x + tl.program_id(1).to(tl.int64) * x_stride
    first = tl.load(starts + row, mask=row < n_out, other=0)
    n_blocks = tl.load(starts + row + 1, mask=row < n_out, other=0) - first
    col = tl.zeros((ROWS,), tl.int32)
    acc = tl.zeros((ROWS, LANES), tl.float32)
    for block in tl.range(0, tl.max(n_blocks, 0), num_stages=STAGES):
        there = (block < n_blocks)[:, None]
        at = (first + block).to(tl.int64)[:, None]
        g = tl.load(gaps + at * LANES + lane[None, :], mask=there, other=0, eviction_policy="evict_first")
        pairs = (g & 0x0F0F0F0F) + ((g >> 4) & 0x0F0F0F0F)
        pairs = pairs + (pairs >> 8)
        total = ((pairs + (pairs >> 16)) & 0xFF) + 8  # the columns that this lane's eight values span
        c = tl.cumsum(total, 1) - total + col[:, None]
        col += tl.sum(total, 1)
        for p in tl.static_range(4):
            word = tl.load(
                values + at * (4 * LANES) + p * LANES + lane[None, :], mask=there, other=0, eviction_policy="evict_first"
            )
            for h in tl.static_range(2):
                c += (g >> (8 * p + 4 * h)) & 15
                value = (word >> (16 * h)).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
                acc += value * tl.load(x + c, mask=there, other=0.0).to(tl.float32)
                c += 1
    tl.store(
        out + tl.program_id(1).to(tl.int64) * n_out + row, tl.sum(acc, 1).to(out.dtype.element_ty), mask=row < n_out
    )
