"""SparseGPT against a plain loop in float64 that follows the paper, and against least squares."""

import pytest
import torch

from llmc.compress.methods.gptq import GPTQ
from llmc.compress.methods.magnitude import Magnitude
from llmc.compress.methods.sparsegpt import SparseGPT
from llmc.compress.methods.wanda import Wanda
from llmc.errors import UserError
from llmc.ops.masks import n_drop
from tests.compress.layers import correlated, random, stats_of


def damped(gram, damping=0.01):
    return gram.double() + damping * gram.double().diagonal().mean() * torch.eye(len(gram), dtype=torch.float64)


def plain_sparsegpt(weight, gram, block, drop, scale=None):
    """The paper's loop: `drop(scores)` marks what goes of a block of columns; `scale` (out,) also rounds to 4 bits."""
    upper = torch.linalg.cholesky(torch.linalg.inv(damped(gram)), upper=True)
    running = weight.double().clone()
    result = torch.empty_like(running)
    for start in range(0, weight.shape[1], block):
        stop = min(start + block, weight.shape[1])
        gone = drop(running[:, start:stop].square() / upper.diagonal()[start:stop].square())
        for i in range(start, stop):
            value = running[:, i]
            if scale is not None:
                value = (value.float() / scale).round().clamp(-8, 7).double() * scale
            result[:, i] = torch.where(gone[:, i - start], 0.0, value)
            error = (running[:, i] - result[:, i]) / upper[i, i]
            running[:, i:] -= torch.outer(error, upper[i, i:])
    return result


def lowest_of_block(sparsity):
    def drop(score):
        order = score.T.flatten().argsort(stable=True)
        gone = torch.zeros(score.numel(), dtype=torch.bool)
        gone[order[: n_drop(score.numel(), sparsity)]] = True
        return gone.view(score.T.shape).T

    return drop


def lowest_of_each_row(count):
    def drop(score):
        lowest = score.argsort(dim=1, stable=True)[:, :count]
        return torch.zeros_like(score, dtype=torch.bool).scatter_(1, lowest, True)

    return drop


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("width", [64, 300])
def test_it_is_the_papers_loop(sparsity, width):
    weight, stats = random(12, width), stats_of(correlated(2 * width, width))
    result = SparseGPT(sparsity=sparsity).compress(weight, stats)
    expected = plain_sparsegpt(weight, stats.gram, 128, lowest_of_block(sparsity))
    assert torch.equal(result.keep, expected != 0)
    assert torch.allclose(result.weight.double(), expected, atol=1e-4)


@pytest.mark.parametrize("pattern", ["2:4", "1:4", "4:8", "5:12"])
def test_with_a_pattern_it_is_the_papers_loop(pattern):
    keep, of = map(int, pattern.split(":"))
    weight, stats = random(12, 288 if of == 12 else 160), stats_of(correlated(600, 288 if of == 12 else 160))
    result = SparseGPT(pattern=pattern).compress(weight, stats)
    expected = plain_sparsegpt(weight, stats.gram, of, lowest_of_each_row(of - keep))
    assert torch.equal(result.keep, expected != 0)
    assert torch.allclose(result.weight.double(), expected, atol=1e-4)


def test_rounding_in_the_same_sweep_is_the_papers_loop():
    weight, stats = random(12, 64), stats_of(correlated(200, 64))
    result = SparseGPT(pattern="2:4", bits=4, group_size=-1).compress(weight, stats)
    scale = result.quantised.scale[:, 0]
    expected = plain_sparsegpt(weight, stats.gram, 4, lowest_of_each_row(2), scale)
    assert torch.allclose(result.weight.double(), expected, atol=1e-6)
    assert bool((result.weight.reshape(12, -1, 4).count_nonzero(-1) <= 2).all())
    assert result.quantised.bits == 4
    # A mask bit, half of the 4-bit codes, a 32-bit scale in 64 weights.
    assert result.bits_per_weight == 1 + 2 + 0.5


def test_on_uncorrelated_inputs_it_is_magnitude_in_blocks_of_128_columns():
    weight = random(6, 256)
    weight[:, :128] *= 10
    stats = stats_of(torch.eye(256))
    result = SparseGPT(sparsity=0.5).compress(weight, stats)
    halves = [Magnitude(sparsity=0.5).compress(half, stats).weight for half in weight.split(128, dim=1)]
    assert torch.equal(result.weight, torch.cat(halves, dim=1))


def test_when_leading_columns_are_pruned_the_rest_is_the_least_squares_answer():
    """min (w - w0) H (w - w0)^T with w_P = 0 has w_R = w0_R + w0_P H_PR H_RR^-1."""
    weight, stats = random(5, 48), stats_of(correlated(200, 48))
    keep = torch.ones(5, 48, dtype=torch.bool)
    keep[:, :10] = False
    result = SparseGPT(sparsity=0.0).compress(weight, stats, keep)
    hessian = damped(stats.gram)
    rest = weight[:, 10:] + weight[:, :10].double() @ hessian[:10, 10:] @ torch.linalg.inv(hessian[10:, 10:])
    assert torch.equal(result.keep, keep)
    assert torch.allclose(result.weight[:, 10:].double(), rest, atol=1e-4)


def test_its_output_error_is_below_wandas():
    weight, x = random(32, 128), correlated(600, 128)

    def error(method):
        return ((method.compress(weight, stats_of(x)).weight - weight) @ x.T).square().sum()

    assert error(SparseGPT()) < 0.8 * error(Wanda())
    joint = error(SparseGPT(pattern="2:4", bits=4, group_size=32))
    assert joint < 0.9 * error(Wanda(pattern="2:4"))


def test_gptq_after_it_keeps_its_mask():
    weight, stats = random(8, 64), stats_of(correlated(200, 64))
    first = SparseGPT(pattern="2:4").compress(weight, stats)
    second = GPTQ(group_size=32).compress(first.weight, stats, first.keep)
    assert not second.weight[~first.keep].any()


def test_unlit_inputs_are_cheap_to_prune_and_are_told():
    """Only the damping gives them a cost, a hundredth of a lit input's: a kept one has 10 times the weight."""
    weight, x = random(40, 16), correlated(100, 16)
    x[:, :8] = 0
    x[:, 8:] /= x[:, 8:].norm(dim=0)
    result = SparseGPT(sparsity=0.5).compress(weight, stats_of(x))
    assert result.keep[:, :8].float().mean() < 0.1
    assert torch.equal(result.weight[:, :8], weight[:, :8] * result.keep[:, :8])
    assert "8 of 16 input channels" in result.warnings[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"bits": 5}, "2, 3, 4 and 8"), ({"damping": -1.0}, r"\[0, 1\]"), ({"sparsity": 1.0}, r"\[0, 1\)")],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        SparseGPT(**settings)


def test_a_width_that_does_not_split_is_refused():
    with pytest.raises(UserError, match="groups of 4"):
        SparseGPT(pattern="2:4").compress(random(4, 18), stats_of(torch.eye(18)))


def test_what_was_pruned_before_counts():
    weight, stats = random(8, 256), stats_of(correlated(600, 256))
    first = Magnitude(sparsity=0.3).compress(weight, stats)
    result = SparseGPT(sparsity=0.5).compress(first.weight, stats, first.keep)
    assert not (result.keep & ~first.keep).any()
    assert [int((~half).sum()) for half in result.keep.split(128, dim=1)] == [512, 512]


def test_the_grids_are_those_that_gptq_finds_for_the_dense_weight():
    weight, stats = random(8, 64), stats_of(correlated(200, 64))
    joint = SparseGPT(pattern="2:4", bits=3, group_size=16).compress(weight, stats)
    assert torch.equal(joint.quantised.scale, GPTQ(bits=3, group_size=16).compress(weight, stats).quantised.scale)
