"""Matrices without their zeros: bits come back as they were, in the bytes that they should take."""

import pytest
import torch

from llmc.ops import bitmask
from llmc.ops.bitmask import Bitmask, n_kept, row_blocks, unpack, words
from llmc.ops.masks import keep_n_of_m, parse_pattern


def draw(rows, columns, density, dtype, seed=0):
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draws).to(dtype)
    return weight.masked_fill(torch.rand(rows, columns, generator=draws) >= density, 0)


def back(packed, dtype):
    return unpack(packed.values, packed.mask, packed.n_in, packed.starts(), dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("density", [0.0, 0.02, 0.12, 0.5, 1.0])
@pytest.mark.parametrize("rows, columns", [(1, 1), (3, 7), (5, 8), (64, 129), (700, 1000)])
def test_every_bit_comes_back(rows, columns, density, dtype):
    weight = draw(rows, columns, density, dtype)
    packed = Bitmask.of(weight)
    assert torch.equal(words(back(packed, dtype)), words(weight))
    assert len(packed.values) == n_kept(weight) == int((weight != 0).sum())
    taken = packed.values.nbytes + packed.mask.nbytes
    assert (
        taken == Bitmask.bytes_of(weight, n_kept(weight)) == n_kept(weight) * dtype.itemsize + rows * -(-columns // 8)
    )


def test_the_bits_by_hand():
    packed = Bitmask.of(torch.tensor([[0.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 5.0], [0.0] * 9]))
    assert packed.mask.tolist() == [[0b1010, 1], [0, 0]] and packed.values.tolist() == [2.0, 3.0, 5.0]
    assert packed.starts() == [0, 3]


def test_odd_numbers_and_the_sign_of_zero_come_back():
    weight = torch.tensor([[-0.0, 0.0, float("nan"), float("inf"), -float("inf"), 1e-45, 0.0, -0.0]])
    packed = Bitmask.of(weight)
    assert len(packed.values) == 6 and torch.equal(words(back(packed, torch.float32)), words(weight))


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "1:4"])
def test_a_pattern_takes_its_share_and_a_bit_a_weight(pattern):
    keep, of = parse_pattern(pattern)
    weight = torch.randn(48, 64).bfloat16()
    weight = weight.masked_fill(~keep_n_of_m(weight.abs(), parse_pattern(pattern)), 0)
    packed = Bitmask.of(weight)
    dense = weight.nbytes
    assert packed.values.nbytes * of == dense * keep and packed.mask.nbytes * 16 == dense
    if pattern == "2:4":  # what values and two 2-bit positions in a group of four would take
        assert (packed.values.nbytes + packed.mask.nbytes) * 16 == 9 * dense


def test_a_wider_dtype_is_filled_with_the_same_numbers():
    weight = draw(33, 50, 0.4, torch.bfloat16)
    assert torch.equal(back(Bitmask.of(weight), torch.float32), weight.float())


def test_matrices_that_are_not_contiguous():
    weight = draw(40, 30, 0.5, torch.float32).T
    assert torch.equal(back(Bitmask.of(weight), torch.float32), weight) and n_kept(weight) == int((weight != 0).sum())


@pytest.mark.parametrize("at_once", [1, 2, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_way_of_other_devices_gives_the_same_bits(monkeypatch, at_once, dtype):
    monkeypatch.delitem(bitmask._WAYS, "cpu")
    monkeypatch.setattr(bitmask, "BLOCKS_ANYWHERE", at_once)
    weight = draw(900, 901, 0.3, dtype)
    weight[3, :3] = torch.tensor([-0.0, float("nan"), -float("inf")])
    weight[500:] = 0
    assert len(row_blocks(*weight.shape)) == 4
    assert torch.equal(words(back(Bitmask.of(weight), dtype)), words(weight))
    assert back(Bitmask.of(weight[:0]), dtype).shape == (0, 901)


def test_a_dtype_without_words_is_refused():
    with pytest.raises(ValueError, match="float8"):
        words(torch.zeros(2, 2, dtype=torch.float8_e4m3fn))
