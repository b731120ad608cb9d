"""Magnitude pruning against counting and sorting."""

import pytest
import torch

from llmc.compress.methods.magnitude import Magnitude
from llmc.errors import UserError
from tests.compress.layers import random, stats_of

STATS = stats_of(torch.eye(8))


def test_the_smallest_of_the_whole_matrix_go_not_of_each_row():
    weight = torch.tensor([[1.0, -2.0, 3.0, -4.0], [50.0, -60.0, 70.0, -80.0]])
    assert Magnitude(sparsity=0.5).compress(weight, STATS).weight.tolist() == [[0] * 4, [50.0, -60.0, 70.0, -80.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_count_is_exact_in_every_dtype(dtype):
    weight = random(200, 500).mul_(0.02).to(dtype)
    result = Magnitude(sparsity=0.5).compress(weight, STATS)
    assert int((~result.keep).sum()) == 50_000
    assert weight[~result.keep].abs().max() <= weight[result.keep].abs().min()


def test_two_of_four_keeps_two_and_takes_nine_bits():
    result = Magnitude(pattern="2:4").compress(random(4, 8).half(), STATS)
    assert bool((result.keep.reshape(-1, 4).sum(-1) == 2).all())
    assert result.bits_per_weight == 9


def test_sparsity_zero_changes_nothing():
    weight = random(4, 8)
    result = Magnitude(sparsity=0).compress(weight, STATS)
    assert torch.equal(result.weight, weight)
    assert result.bits_per_weight == 32


def test_what_was_pruned_before_counts_and_stays_pruned():
    weight = random(10, 10)
    first = Magnitude(sparsity=0.3).compress(weight, STATS)
    second = Magnitude(sparsity=0.5).compress(first.weight, STATS, first.keep)
    assert torch.equal(second.keep, Magnitude(sparsity=0.5).compress(weight, STATS).keep)
    less = Magnitude(sparsity=0.1).compress(first.weight, STATS, first.keep)
    assert torch.equal(less.keep, first.keep)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_refused(value):
    weight = random(4, 8)
    weight[1, 2] = value
    with pytest.raises(UserError, match="1 of 32 weights are not finite"):
        Magnitude().compress(weight, STATS)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsity": 1.0}, r"\[0, 1\)"),
        ({"sparsity": -0.1}, r"\[0, 1\)"),
        ({"pattern": "4:2"}, "N:M"),
        ({"pattern": "1:4", "sparsity": 0.6}, "means sparsity 0.75"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        Magnitude(**settings)


def test_a_zero_that_was_kept_is_dropped_after_those_that_were_pruned():
    keep = torch.tensor([[True, True, False, False]])
    weight = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    assert Magnitude(sparsity=0.5).compress(weight, STATS, keep).keep.tolist() == keep.tolist()
