"""Rounding to nearest against the definition."""

import pytest
import torch

from llmc.compress.methods.magnitude import Magnitude
from llmc.compress.methods.rtn import RTN
from tests.compress.layers import random, stats_of

STATS = stats_of(torch.eye(64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [16, -1])
def test_the_file_holds_exactly_the_weight(dtype, symmetric, group_size):
    """Codes, zeros and scales as a checkpoint stores them give back the weight, bit for bit, in its own dtype."""
    result = RTN(group_size=group_size, symmetric=symmetric).compress(random(8, 64).to(dtype), STATS)
    stored = result.quantised
    size = 64 if group_size == -1 else group_size
    scale, zero = (t.repeat_interleave(size, dim=1) for t in (stored.scale.to(dtype), stored.zero.to(dtype)))
    assert torch.equal((stored.codes.to(dtype) - zero) * scale, result.weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_no_weight_moves_more_than_half_a_step(bits):
    weight = random(8, 64)
    result = RTN(bits=bits, group_size=16, symmetric=False).compress(weight, STATS)
    step = result.quantised.scale.repeat_interleave(16, dim=1)
    # The zero point is rounded, so an end of the range may lie half a step beyond the grid, never further.
    assert bool(((result.weight - weight).abs() <= step * (1 + 1e-4)).all())
    assert ((result.weight - weight).abs() <= step / 2 * (1 + 1e-4)).float().mean() > 0.9


def test_the_bits_are_codes_scales_and_zeros():
    weight = random(8, 64).half()
    assert RTN(group_size=16).compress(weight, STATS).bits_per_weight == 4 + 16 / 16
    assert RTN(group_size=16, symmetric=False).compress(weight, STATS).bits_per_weight == 4 + 20 / 16


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("mse", [True, False])
def test_a_mask_of_an_earlier_stage_is_kept_exactly(symmetric, mse):
    pruned = Magnitude(pattern="2:4").compress(random(8, 64) + 0.7, STATS)
    result = RTN(group_size=32, symmetric=symmetric, mse=mse).compress(pruned.weight, STATS, pruned.keep)
    assert bool((result.weight[~pruned.keep] == 0).all())
    assert result.bits_per_weight == pytest.approx(1 + 2 + (32 + (0 if symmetric else 4)) / 32)


def test_the_search_lowers_the_error():
    weight = random(8, 64)

    def error(mse):
        return (RTN(bits=2, group_size=-1, mse=mse).compress(weight, STATS).weight - weight).square().sum()

    assert error(True) < 0.8 * error(False)
