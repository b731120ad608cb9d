"""GPTQ against a plain loop in float64 that follows the paper, and against cases with a known answer."""

import pytest
import torch

from llmc.compress.methods.gptq import GPTQ
from llmc.compress.methods.magnitude import Magnitude
from llmc.compress.methods.rtn import RTN
from llmc.errors import UserError
from tests.compress.layers import correlated, random, stats_of


def plain_gptq(weight, gram, grid, order, damping=0.01, keep=None):
    """The paper's loop: inverse, upper Cholesky factor, one column at a time. Returns the codes."""
    scale, zero, group_size, top = grid
    hessian = gram.double()[order][:, order]
    hessian += damping * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=torch.float64)
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    running = weight.double()[:, order].clone()
    codes = torch.empty_like(running)
    for i, column in enumerate(order.tolist()):
        s, z = scale[:, column // group_size], zero[:, column // group_size]
        # In float32: a symmetric grid puts a group's largest weight on a tie, -7.5 steps, which noise must not decide.
        code = ((running[:, i].float() / s).round() + z).clamp(0, top)
        if keep is not None:
            code = torch.where(keep[:, column], code, z)
        error = (running[:, i] - (code - z) * s) / upper[i, i]
        running[:, i:] -= torch.outer(error, upper[i, i:])
        codes[:, column] = code
    return codes


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("act_order", [True, False])
@pytest.mark.parametrize(("bits", "group_size"), [(4, 32), (3, -1), (2, 16), (8, 96)])
@pytest.mark.parametrize("pruned", [False, True])
def test_the_codes_are_those_of_the_papers_loop(symmetric, act_order, bits, group_size, pruned):
    generator = torch.Generator().manual_seed(bits)
    weight = torch.randn(12, 96, generator=generator)
    stats = stats_of(correlated(300, 96))
    keep = None
    if pruned:
        keep = Magnitude(pattern="2:4").compress(weight, stats).keep
        weight = weight * keep
    method = GPTQ(bits=bits, group_size=group_size, symmetric=symmetric, act_order=act_order)
    found = method.compress(weight, stats, keep).quantised
    order = stats.gram.diagonal().argsort(descending=True, stable=True) if act_order else torch.arange(96)
    size = 96 if group_size == -1 else group_size
    expected = plain_gptq(weight, stats.gram, (found.scale, found.zero, size, 2**bits - 1), order, keep=keep)
    assert torch.equal(found.codes.double(), expected)


def test_on_uncorrelated_inputs_it_is_rounding_to_nearest():
    """With H = I no error can be passed to another column, so there is nothing left to do."""
    weight = random(8, 16, seed=0)
    stats = stats_of(torch.eye(16))
    settings = {"bits": 3, "group_size": 8, "symmetric": False, "mse": True}
    assert torch.equal(GPTQ(**settings).compress(weight, stats).weight, RTN(**settings).compress(weight, stats).weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_output_error_is_far_below_that_of_rounding(dtype):
    x = correlated(500, 64)
    weight = random(32, 64, seed=1).to(dtype)

    def error(method):
        return ((method.compress(weight, stats_of(x)).weight - weight).float() @ x.T).square().sum()

    rounded = error(RTN(bits=3, group_size=32, mse=True))
    in_order = error(GPTQ(bits=3, group_size=32, act_order=False))
    assert in_order < 0.8 * rounded
    assert error(GPTQ(bits=3, group_size=32)) < in_order


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_mask_of_an_earlier_stage_is_kept_exactly(symmetric):
    x = correlated(200, 64)
    weight = random(16, 64, seed=2) + 0.5
    pruned = Magnitude(pattern="2:4").compress(weight, stats_of(x))
    result = GPTQ(group_size=32, symmetric=symmetric).compress(pruned.weight, stats_of(x), pruned.keep)
    assert torch.equal(result.keep, pruned.keep)
    assert bool((result.weight[~pruned.keep] == 0).all())
    zero = result.quantised.zero.repeat_interleave(32, dim=1)
    assert torch.equal(result.quantised.codes[~pruned.keep], zero[~pruned.keep])
    assert bool((result.weight.reshape(16, -1, 4).count_nonzero(-1) <= 2).all())


def test_unlit_inputs_keep_their_weights_rounded_to_nearest_and_are_told():
    x = correlated(200, 32)
    x[:, [3, 17]] = 0
    weight = random(8, 32, seed=3)
    result = GPTQ(group_size=16).compress(weight, stats_of(x))
    nearest = RTN(group_size=16, mse=True).compress(weight, stats_of(x)).weight
    assert torch.equal(result.weight[:, [3, 17]], nearest[:, [3, 17]])
    assert "2 of 32 input channels" in result.warnings[0]


def test_with_no_lit_input_it_is_rounding_to_nearest_and_says_so():
    weight = random(8, 32, seed=3)
    result = GPTQ(group_size=16).compress(weight, stats_of(torch.zeros(4, 32)))
    nearest = RTN(group_size=16, mse=True).compress(weight, stats_of(torch.zeros(4, 32)))
    assert torch.equal(result.weight, nearest.weight)
    assert "no error could be made up for" in result.warnings[0]


def test_damping_is_raised_loudly_on_a_matrix_that_is_not_positive_definite():
    stats = stats_of(correlated(200, 32))
    # Least eigenvalue -0.05 of the mean diagonal: 0.01 can't mend it, 0.1 can.
    values, vectors = torch.linalg.eigh(stats.gram.double())
    values[0] = -0.05 * values.mean()
    stats.gram = (vectors * values @ vectors.T).float()
    weight = random(8, 32, seed=3)
    result = GPTQ(group_size=16).compress(weight, stats)
    assert result.damping == 0.1
    assert "0.1 was used instead" in result.warnings[0]


def test_a_hopeless_matrix_is_refused_rather_than_rounded():
    stats = stats_of(correlated(200, 32))
    stats.gram = torch.eye(32)
    stats.gram[:2, :2] = torch.tensor([[1.0, 9.0], [9.0, 1.0]])
    with pytest.raises(UserError, match="not positive definite"):
        GPTQ(group_size=16).compress(torch.ones(4, 32), stats)


def test_layers_that_share_their_inputs_share_one_factor():
    stats = stats_of(correlated(200, 32))
    weights = random(2, 8, 32, seed=3)
    first = GPTQ(group_size=16).compress(weights[0], stats)
    (key,) = stats.cache
    made = stats.cache[key]
    GPTQ(group_size=16).compress(weights[1], stats)
    assert stats.cache[key] is made
    stats.cache.clear()
    assert torch.equal(GPTQ(group_size=16).compress(weights[0], stats).weight, first.weight)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"bits": 5}, "2, 3, 4 and 8"), ({"group_size": 0}, "-1"), ({"damping": 1.5}, r"\[0, 1\]")],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        GPTQ(**settings)


def test_a_group_size_that_does_not_divide_the_width_names_one_that_does():
    with pytest.raises(UserError, match=r"divides 96, e\.g\. 32"):
        GPTQ(group_size=64).compress(torch.ones(4, 96), stats_of(torch.eye(96)))


def test_the_search_is_that_of_the_grid():
    weight, stats = random(8, 32), stats_of(correlated(100, 32))
    searched = GPTQ(bits=3, group_size=16).compress(weight, stats).quantised.scale
    assert torch.equal(searched, RTN(bits=3, group_size=16, mse=True).compress(weight, stats).quantised.scale)
    assert not torch.equal(searched, GPTQ(bits=3, group_size=16, mse=False).compress(weight, stats).quantised.scale)


def test_given_the_dense_weight_it_makes_up_for_the_pruning_too():
    weight, x = random(16, 32), correlated(200, 32)
    pruned = Magnitude(pattern="2:4").compress(weight, stats_of(x))
    found = GPTQ(group_size=16).compress(weight, stats_of(x), pruned.keep)
    late = GPTQ(group_size=16).compress(pruned.weight, stats_of(x), pruned.keep)
    assert torch.equal(found.quantised.scale, late.quantised.scale)

    def error(result):
        return ((result.weight - weight) @ x.T).square().sum()

    assert error(found) < 0.9 * error(late)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_numbers_are_refused(value):
    x = correlated(50, 32)
    x[7, 3] = value
    with pytest.raises(UserError, match="calibration inputs of this layer are not finite"):
        GPTQ(group_size=16).compress(random(4, 32), stats_of(x))
