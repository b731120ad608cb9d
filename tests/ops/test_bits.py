"""Storage in bits per weight, counted by hand."""

import pytest

from llmc.ops.bits import factor_bits, grid_bits, mask_bits, pruned_bits
from llmc.ops.masks import Pattern


@pytest.mark.parametrize(("pattern", "bits"), [(None, 1), (Pattern(2, 4), 1), (Pattern(1, 4), 0.5), (Pattern(4, 8), 1)])
def test_a_mask_takes_a_bit_or_the_positions_of_the_kept(pattern, bits):
    assert mask_bits(pattern) == bits


def test_half_of_16_bits_and_a_mask_are_9():
    assert pruned_bits(0.5, 16) == 9


def test_what_is_hardly_pruned_is_stored_whole():
    assert pruned_bits(0.99, 16) == 16


def test_a_group_of_128_with_a_16_bit_scale_adds_an_eighth_of_a_bit():
    assert grid_bits(128, 16, 0) == 0.125


def test_factors_at_the_break_even_rank_take_what_the_matrix_takes():
    """r (m + n) = m n: 6 * (18 + 9) = 162 = 18 * 9."""
    assert factor_bits(18, 9, 6, 16) == 16
