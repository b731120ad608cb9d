"""A low-rank pair against the float64 product, plain and quantised."""

import pytest
import torch

from llmc.kernels.low_rank_pair import LowRankPair, corrected, matmul
from llmc.kernels.pack import planar
from llmc.kernels.reference import dequantised


def quantised(n_out, n_in, group):
    codes = torch.randint(0, 256, (n_out, n_in), generator=torch.Generator().manual_seed(n_in), dtype=torch.uint8)
    return planar(codes, torch.full((n_out, n_in // group), 0.001), None, bits=8, group_size=group)


@pytest.mark.parametrize("rank", [1, 5, 16])
def test_it_is_the_product_with_left_times_right(rank):
    left, right, x = torch.randn(20, rank), torch.randn(rank, 30), torch.randn(2, 3, 30)
    exact = x.double() @ (left.double() @ right.double()).T
    torch.testing.assert_close(matmul(x, LowRankPair(left=left, right=right)).double(), exact, rtol=1e-5, atol=1e-5)


def test_quantised_factors_and_a_quantised_base_are_their_dequantised_product():
    left, right, base = quantised(24, 32, 32), quantised(32, 64, 32), quantised(24, 64, 64)
    x = torch.randn(3, 64)
    exact = x.double() @ (dequantised(base) + dequantised(left) @ dequantised(right)).T
    found = corrected(x, base, LowRankPair(left=left, right=right))
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
