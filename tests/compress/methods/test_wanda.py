"""Wanda against its equation."""

import pytest
import torch

from llmc.compress.method import LayerStats
from llmc.compress.methods.magnitude import Magnitude
from llmc.compress.methods.wanda import Wanda
from llmc.errors import UserError
from tests.compress.layers import correlated, random, stats_of


def test_it_scores_by_the_norm_of_the_input():
    """Input norms are 10 and 1. Row 0: 1*10 > 9*1, so magnitude alone would be wrong.
    Row 1: 1*10 < 50*1, so the squared norm (100) would be wrong."""
    weight = torch.tensor([[1.0, 9.0], [1.0, 50.0]])
    stats = LayerStats(n_tokens=1, sq_norm=torch.tensor([100.0, 1.0]))
    assert Wanda(sparsity=0.5).compress(weight, stats).weight.tolist() == [[1.0, 0.0], [0.0, 50.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.9])
def test_every_row_loses_its_own_lowest(sparsity, dtype):
    weight, x = random(20, 30).to(dtype), correlated(50, 30)
    result = Wanda(sparsity=sparsity).compress(weight, stats_of(x))
    score = weight.float().abs() * x.norm(dim=0)
    for row, keep in zip(score, result.keep, strict=True):
        assert int((~keep).sum()) == round(30 * sparsity)
        assert row[~keep].max() <= row[keep].min() * (1 + 1e-5)
    assert torch.equal(result.weight, weight * result.keep)


def test_inputs_of_equal_norm_make_it_magnitude_within_rows():
    weight = random(5, 16)
    result = Wanda(pattern="4:8").compress(weight, stats_of(torch.eye(16)))
    assert torch.equal(result.keep, Magnitude(pattern="4:8").compress(weight, stats_of(torch.eye(16))).keep)


def test_unlit_inputs_go_first_and_the_smallest_weight_first_among_them():
    weight = torch.tensor([[9.0, 5.0, 7.0, 0.1, 0.2, 0.3]])
    stats = LayerStats(n_tokens=1, sq_norm=torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    assert Wanda(sparsity=2 / 6).compress(weight, stats).weight.tolist() == [
        pytest.approx([9.0, 0.0, 0.0, 0.1, 0.2, 0.3])
    ]


def test_with_no_lit_input_it_prunes_by_magnitude_and_says_so():
    weight = random(3, 8)
    result = Wanda().compress(weight, LayerStats(n_tokens=0, sq_norm=torch.zeros(8)))
    by_row = weight.abs() >= weight.abs().sort(dim=1).values[:, 4:5]
    assert torch.equal(result.keep, by_row)
    assert "pruned by magnitude" in result.warnings[0]


def test_inputs_that_are_not_numbers_are_refused():
    with pytest.raises(UserError, match="calibration inputs of this layer are not finite"):
        Wanda().compress(random(3, 8), LayerStats(n_tokens=1, sq_norm=torch.full((8,), torch.nan)))
