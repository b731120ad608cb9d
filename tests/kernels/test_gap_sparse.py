"""Values and 4-bit gaps: an identity at every awkward gap, exact byte counts, and the product in the interpreter."""

import pytest
import torch

from llmc.kernels.gap_sparse import BLOCK, FARTHEST, LANES, decode, encode, holds, matvec, written_out
from llmc.ops import bitmask

pytest.importorskip("triton", reason="the interpreter comes with triton")


def sparse(rows, width, sparsity, seed=0):
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, width, generator=draw)
    return weight.masked_fill_(torch.rand(rows, width, generator=draw) < sparsity, 0.0).half()


@pytest.mark.parametrize("back", [decode, lambda found: written_out(found, torch.float16)])
def test_decoding_is_the_inverse_of_encoding_at_every_awkward_gap(back):
    weight = torch.zeros(8, 400, dtype=torch.float16)
    for row, columns in enumerate(
        [[], range(400), [399], [0], [15, 31, 32], [16, 33, 51], [17, 100, 399], [0, 16, 32]]
    ):
        weight[row, list(columns)] = torch.arange(1, len(columns) + 1, dtype=torch.float16)
    weight[1, 3], weight[1, 4], weight[1, 5] = float("nan"), float("inf"), -0.0
    expected = weight.clone()
    expected[1, 5] = 0.0  # a stored -0 counts as zero
    found = back(encode(weight))
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert not torch.signbit(found[1, 5])


def one_row(row):
    """The definition, entry by entry: (values, gaps) with a zero of gap 15 for every 16 columns that are skipped."""
    values, gaps, at = [], [], 0
    for column in range(len(row)):
        if row[column] == 0:
            continue
        while column - at >= FARTHEST:
            values, gaps, at = [*values, 0.0], [*gaps, FARTHEST - 1], at + FARTHEST
        values, gaps, at = [*values, float(row[column])], [*gaps, column - at], column + 1
    missing = -len(values) % BLOCK
    return values + [0.0] * missing, gaps + [0] * missing


@pytest.mark.parametrize("sparsity", [0.0, 0.6, 0.97, 0.999, 1.0])
def test_every_entry_lies_where_the_definition_says(sparsity):
    weight = sparse(9, 500, sparsity, seed=3)
    weight[4], weight[5, :490], weight[8] = 0.0, 0.0, 0.0  # empty rows, the last among them, and a late first entry
    found = encode(weight)
    rows = [one_row(row) for row in weight]
    assert found.starts.tolist() == [sum(len(v) for v, _ in rows[:k]) // BLOCK for k in range(10)]
    values = torch.tensor([v for row in rows for v in row[0]]).half()
    gaps = [g for row in rows for g in row[1]]
    for entry in range(len(gaps)):
        block, inside = divmod(entry, BLOCK)
        lane, place = divmod(inside, 8)
        word = found.values[(block * 4 + place // 2) * LANES + lane].view(1).view(torch.int16)[place % 2]
        assert word == values[entry : entry + 1].view(torch.int16)
        assert int(found.gaps[block * LANES + lane]) >> 4 * place & 15 == gaps[entry]
    assert found.reach == max(500, *(sum(g + 1 for g in row[1]) for row in rows))


def test_a_matrix_of_nothing_has_no_blocks():
    found = encode(torch.zeros(3, 20))
    assert found.starts.tolist() == [0, 0, 0, 0] and len(found.values) == len(found.gaps) == 0 and found.reach == 20
    assert torch.equal(decode(found), torch.zeros(3, 20).half())
    assert torch.equal(written_out(found, torch.float16), torch.zeros(3, 20).half())


@pytest.mark.parametrize("sparsity", [0.5, 0.97, 0.999])
def test_rows_are_coded_some_at_a_time_and_it_makes_no_difference(monkeypatch, sparsity):
    weight = sparse(23, 500, sparsity, seed=5)
    weight[:2], weight[9], weight[-1] = 0.0, 0.0, 0.0
    whole = encode(weight)
    monkeypatch.setattr(bitmask, "BLOCK", 1300)
    assert len(bitmask.row_blocks(23, 500)) == 12
    parts = encode(weight)
    for name in ("values", "gaps", "starts"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))
    assert parts.reach == whole.reach and torch.equal(decode(whole), weight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_it_is_written_out_in_the_dtype_of_the_activations(dtype):
    weight = sparse(6, 300, 0.9).to(torch.bfloat16).to(dtype)
    assert torch.equal(decode(encode(weight), dtype), weight)
    assert torch.equal(written_out(encode(weight), dtype), weight)


def test_what_float16_loses_is_held_against_the_row_it_is_in():
    row = torch.full((1, 100), 0.02).bfloat16()
    few = row.clone()
    few[0, :3] = torch.tensor([1e-7, 3e-6, -(2.0**-24)])
    assert not torch.equal(few.half().bfloat16(), few), "float16 rounds some of them"
    assert holds(few, torch.bfloat16) and holds(torch.cat([few, torch.zeros_like(few)]), torch.bfloat16)
    for bad in (1e5, float("nan"), float("inf")):
        broken = row.clone()
        broken[0, 7] = bad
        assert not holds(broken, torch.bfloat16)
    assert not holds(torch.cat([row, few * 2.0**-14]), torch.bfloat16), "a row of what is small is lost"
    assert not holds(torch.full((2, 4), 1e-30).bfloat16(), torch.bfloat16)
    ninth = torch.full((4, 8), 1 / 9)
    assert holds(ninth.half(), torch.float16) and holds(ninth.bfloat16(), torch.float32)
    assert not holds(ninth, torch.float32) and holds(ninth, torch.float16)


def test_it_takes_two_and_a_half_bytes_an_entry_and_four_a_row():
    weight = torch.zeros(3, 600, dtype=torch.float16)
    weight[0], weight[1, 5] = 1.0, 1.0  # 600 entries are 3 blocks, 1 is one, 0 none
    assert encode(weight).size_bytes == 4 * BLOCK * 5 // 2 + 4 * 4
    assert encode(weight).starts.tolist() == [0, 3, 4, 4]


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.995, 1.0])
def test_the_product_is_that_of_the_dense_matrix(sparsity):
    weight = sparse(7, 700, sparsity)
    x = torch.randn(2, 700, generator=torch.Generator().manual_seed(1)).half()
    exact = x.double() @ weight.double().T
    y = matvec(x, encode(weight))
    assert (y.double() - exact).norm() <= 5e-4 * exact.norm()


def test_a_one_hot_row_picks_exactly_one_column():
    weight = sparse(5, 300, 0.8)
    columns = torch.tensor([0, 15, 16, 17, 255, 256, 299])
    x = torch.nn.functional.one_hot(columns, 300).half()
    assert torch.equal(matvec(x, encode(weight)), weight[:, columns].T)
