"""Grids against their definition, point by point."""

import math

import pytest
import torch

from llmc.errors import UserError
from llmc.ops.grid import N_SHRINKS, columns_per_group, fit_grid


def weights(rows=6, width=32, seed=0):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_each_weight_goes_to_the_nearest_point_of_its_grid(bits, symmetric):
    weight = weights()
    grid = fit_grid(weight, bits=bits, group_size=8, symmetric=symmetric)
    got = grid.values(grid.offsets(weight))
    for row in range(6):
        for column in range(32):
            scale, zero = grid.scale[row, column // 8], grid.zero[row, column // 8]
            points = (torch.arange(2**bits) - zero) * scale
            best = (points - weight[row, column]).abs().min()
            assert (got[row, column] - weight[row, column]).abs() <= best * (1 + 1e-5) + 1e-7


def test_a_range_of_whole_steps_is_hit_exactly():
    """-3 to 12 in 16 codes: scale 1, zero 3, and every whole number is on the grid."""
    weight = torch.tensor([[-3.0, 12.0, 0.0, 5.0]])
    grid = fit_grid(weight, bits=4, group_size=-1, symmetric=False)
    assert (grid.scale.item(), grid.zero.item()) == (1.0, 3.0)
    assert grid.codes(grid.offsets(weight)).tolist() == [[0, 15, 3, 8]]
    assert torch.equal(grid.values(grid.offsets(weight)), weight)


@pytest.mark.parametrize("weight", [[[1.0, 2.0, 15.0]], [[-15.0, -2.0, -1.0]]])
def test_a_group_on_one_side_of_zero_still_contains_zero(weight):
    weight = torch.tensor(weight)
    grid = fit_grid(weight, bits=4, group_size=-1, symmetric=False)
    assert torch.equal(grid.values(grid.offsets(weight)), weight)
    assert grid.zero.item() == (0 if weight.sum() > 0 else 15)


def test_a_symmetric_grid_is_mirrored_for_a_group_without_negatives():
    """The published quantiser would keep 0..15 with zero 8 here, and cut 15 down to 7."""
    grid = fit_grid(torch.tensor([[7.5, 1.0]]), bits=4, group_size=-1, symmetric=True)
    assert (grid.scale.item(), grid.zero.item()) == (1.0, 8.0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1.0, 1e-6])
def test_scales_are_numbers_of_the_files_dtype(dtype, size):
    weight = weights() * size
    grid = fit_grid(weight, bits=4, group_size=8, symmetric=True, dtype=dtype)
    assert torch.equal(grid.scale.to(dtype).float(), grid.scale)
    assert bool((grid.scale > 0).all())
    # 4e-7 is below fp16's normal numbers, yet steps of 6e-8 still express it.
    error = (grid.values(grid.offsets(weight)) - weight).abs().amax()
    assert error < 0.7 * grid.scale.amax() < 0.4 * size


def test_an_all_zero_group_stays_zero():
    grid = fit_grid(torch.zeros(2, 8), bits=4, group_size=4, symmetric=False)
    assert bool(grid.scale.isfinite().all())
    assert not grid.values(grid.offsets(torch.zeros(2, 8))).any()


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_search_finds_the_best_shrink_of_every_group(symmetric):
    weight = weights(3, 64, seed=4)
    settings = {"bits": 3, "group_size": 16, "symmetric": symmetric}

    def cost(**extra):
        grid = fit_grid(weight, **settings, **extra)
        return (grid.values(grid.offsets(weight)) - weight).square().unflatten(-1, (-1, 16)).sum(-1)

    by_hand = torch.stack([cost(shrink=torch.full((3, 4), s)) for s in [1 - i / 20 for i in range(N_SHRINKS[3])]]).amin(
        0
    )
    assert torch.allclose(cost(search=True), by_hand, rtol=1e-5)
    assert cost(search=True).sum() < 0.97 * cost().sum()


def test_the_search_does_not_depend_on_how_rows_are_chunked(monkeypatch):
    weight = weights(7, 32, seed=5)
    whole = fit_grid(weight, bits=3, group_size=8, symmetric=True, search=True)
    monkeypatch.setattr("llmc.ops.grid.CHUNK", 64)
    assert torch.equal(fit_grid(weight, bits=3, group_size=8, symmetric=True, search=True).scale, whole.scale)


def test_groups_that_do_not_fill_the_width_are_refused_with_a_size_that_does():
    with pytest.raises(UserError, match=r"e\.g\. 32"):
        columns_per_group(96, 64)
    with pytest.raises(UserError, match="use -1"):
        columns_per_group(97, 64)
    assert columns_per_group(97, -1) == 97
    assert math.gcd(96, 64) == 32


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_ranges_tried_reach_the_best_for_a_long_normal_row(bits):
    """A row of 4096 normal weights as one group is among the cases that want the narrowest range."""
    weight = weights(4, 4096, seed=6)

    def cost(shrink):
        grid = fit_grid(weight, bits=bits, group_size=-1, symmetric=True, shrink=torch.full((4, 1), shrink))
        return (grid.values(grid.offsets(weight)) - weight).square().mean().item()

    found = fit_grid(weight, bits=bits, group_size=-1, symmetric=True, search=True)
    error = (found.values(found.offsets(weight)) - weight).square().mean().item()
    assert error <= 1.02 * min(cost(1 - i / 50) for i in range(40))
