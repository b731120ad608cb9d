"""Channel scales and clipping against their definitions."""

import pytest
import torch

from llmc.ops.grid import fit_grid
from llmc.ops.scaling import channel_scale, clip_to_best, mean_share, output_error, per_producer


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_share_is_the_mean_of_weights_over_their_groups_largest():
    """Group one: rows (1, 2) and (4, 1) -> shares (1/2, 1) and (1, 1/4), means 3/4 and 5/8."""
    weight = torch.tensor([[1.0, -2.0, 3.0, 3.0], [4.0, 1.0, 0.0, 5.0]])
    expected = torch.tensor([0.75, 0.625, 0.5, 1.0])
    assert torch.allclose(mean_share([weight[:1], weight[1:]], 2), expected, atol=1e-5)


def test_the_scale_is_a_power_with_its_extremes_about_one():
    """16**.5 and 1**.5 are 4 and 1; over sqrt(4 * 1) they are 2 and 1/2."""
    assert channel_scale(torch.tensor([16.0, 1.0]), 0.5).tolist() == [2.0, 0.5]


def test_the_share_divides():
    """1 / (1/16)**.75 and 1 / 1**.75: 8 to 1, about 1 by their geometric mean."""
    got = channel_scale(torch.ones(2), 0.25, torch.tensor([1 / 16, 1.0]))
    assert got.tolist() == pytest.approx([8**0.5, 8**-0.5], rel=1e-3)


def test_a_channel_without_activity_keeps_scale_one_and_bends_no_other():
    lit = channel_scale(torch.tensor([16.0, 1.0]), 0.5)
    assert channel_scale(torch.tensor([16.0, 0.0, 1.0]), 0.5).tolist() == [lit[0], 1.0, lit[1]]
    assert channel_scale(torch.zeros(3), 0.5).tolist() == [1.0] * 3


def test_exponent_zero_without_a_share_is_no_scale():
    assert torch.equal(channel_scale(random(5).abs(), 0.0), torch.ones(5))


def test_channels_that_carry_one_producers_channel_share_their_mean():
    assert per_producer(torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([0, 1, 0, 1])).tolist() == [2.0, 4.0]


def test_the_output_error_is_that_of_the_outputs():
    change, x = random(5, 8), random(40, 8, seed=1)
    assert torch.allclose(output_error(change, x.T @ x), (change @ x.T).square().sum())


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_clip_is_the_best_of_ten_for_every_row_and_group(symmetric):
    weight, x = random(3, 16), random(50, 16, seed=1) * torch.linspace(0.1, 3, 16)
    settings = {"bits": 2, "symmetric": symmetric, "dtype": torch.float32}
    got = clip_to_best(weight, x.T @ x, group_size=8, **settings)
    for row in range(3):
        for columns in (slice(0, 8), slice(8, 16)):
            part = weight[row : row + 1, columns]
            tried = []
            for step in range(10):
                limit = part.abs().max() * (1 - step / 20)
                cut = part.clamp(-limit, limit)
                grid = fit_grid(cut, bits=2, group_size=-1, symmetric=symmetric)
                tried.append((((grid.values(grid.offsets(cut)) - part) @ x[:, columns].T).square().sum().item(), cut))
            assert torch.equal(got[row : row + 1, columns], min(tried, key=lambda pair: pair[0])[1])
