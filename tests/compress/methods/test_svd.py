"""Low rank against the truncated singular value decomposition."""

import pytest
import torch

from llmc.compress.methods.svd import SVD
from llmc.errors import UserError
from tests.compress.layers import correlated, random, stats_of


@pytest.mark.parametrize("shape", [(48, 32), (32, 48)])
def test_plain_it_is_the_truncated_decomposition(shape):
    weight = random(*shape)
    result = SVD(rank=6, activation_aware=False).compress(weight, stats_of(torch.eye(shape[1])))
    u, s, vh = torch.linalg.svd(weight.double(), full_matrices=False)
    assert torch.allclose(result.weight.double(), (u[:, :6] * s[:6]) @ vh[:6], atol=1e-5)
    assert result.bits_per_weight == pytest.approx(32 * 6 * 80 / (48 * 32))


@pytest.mark.parametrize("shape", [(48, 32), (32, 48)])
def test_without_damping_it_leaves_the_discarded_spectrum_of_the_output(shape):
    weight, x = random(*shape), correlated(200, shape[1])
    result = SVD(rank=6, damping=0.0).compress(weight, stats_of(x))
    left = torch.linalg.svdvals((weight @ x.T).double())[6:].square().sum()
    assert ((result.weight - weight) @ x.T).double().square().sum() == pytest.approx(left.item(), rel=1e-4)


def test_the_outputs_change_less_when_it_knows_the_inputs():
    weight, x = random(48, 32), correlated(200, 32)

    def error(aware):
        result = SVD(rank_ratio=0.5, activation_aware=aware).compress(weight, stats_of(x))
        return ((result.weight - weight) @ x.T).square().sum()

    assert error(True) < 0.7 * error(False)


def test_equal_inputs_make_it_the_plain_one():
    weight = random(16, 48)
    stats = stats_of(torch.eye(48))
    aware, plain = (SVD(rank=4, activation_aware=aware).compress(weight, stats).weight for aware in (True, False))
    assert torch.allclose(aware, plain, atol=1e-5)


def test_inputs_that_were_never_lit_make_it_the_plain_one():
    weight = random(16, 48)
    result = SVD(rank=4).compress(weight, stats_of(torch.zeros(3, 48)))
    assert torch.equal(
        result.weight, SVD(rank=4, activation_aware=False).compress(weight, stats_of(torch.eye(48))).weight
    )
    assert "matrix itself" in result.warnings[0]


def test_a_rank_that_saves_nothing_is_said_and_not_done():
    """6 * (18 + 9) = 162 = 18 * 9."""
    weight = random(18, 9)
    result = SVD(rank=6).compress(weight, stats_of(torch.eye(9)))
    assert torch.equal(result.weight, weight)
    assert result.factors is None
    assert "saves no parameter" in result.warnings[0]
    assert SVD(rank=5).compress(weight, stats_of(torch.eye(9))).factors is not None


def test_layers_that_share_their_inputs_share_one_root():
    stats = stats_of(correlated(100, 16))
    first = SVD(rank=4).compress(random(32, 16), stats)
    assert len(stats.cache) == 1
    assert torch.equal(SVD(rank=4).compress(random(32, 16), stats).weight, first.weight)


def test_it_refuses_to_fill_the_zeros_of_an_earlier_stage():
    with pytest.raises(UserError, match="put svd before"):
        SVD().compress(random(8, 8), stats_of(torch.eye(8)), torch.ones(8, 8, dtype=torch.bool))


@pytest.mark.parametrize("settings", [{"rank_ratio": 0.0}, {"rank_ratio": 1.1}, {"rank": 0}, {"damping": 2.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match="must be"):
        SVD(**settings)


def test_damping_is_as_many_more_inputs_that_light_one_channel_each():
    weight, x = random(16, 32), correlated(8, 32)
    level = (0.01 * x.square().sum(0).mean()).sqrt()
    more = torch.cat([x, level * torch.eye(32)])
    found = SVD(rank=4).compress(weight, stats_of(x)).weight
    assert torch.allclose(found, SVD(rank=4, damping=0.0).compress(weight, stats_of(more)).weight, atol=1e-4)


def test_the_ratio_bounds_the_parameters():
    result = SVD(rank_ratio=0.7).compress(random(32, 48), stats_of(correlated(100, 48)))
    numbers = result.factors.left.numel() + result.factors.right.numel()
    assert 0.7 * 32 * 48 - 80 < numbers <= 0.7 * 32 * 48
