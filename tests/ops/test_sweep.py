"""The sweep against its definition, on whole numbers: sums are exact, so ties are ties in both and must fall alike."""

import pytest
import torch

from llmc.ops.factor import Feedback
from llmc.ops.grid import Grid
from llmc.ops.sweep import SweepSettings, sweep

ROWS, COLUMNS = 12, 40


def whole_numbers(seed, *, shuffled):
    """Weights in halves and feedback of -1, 0 or 1, few enough that float32 holds every sum exactly."""
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randint(-9, 10, (ROWS, COLUMNS), generator=draws) / 2
    gain = torch.randint(-1, 2, (COLUMNS, COLUMNS), generator=draws).float()
    gain = gain * (torch.rand(COLUMNS, COLUMNS, generator=draws) < 0.1)
    gain = gain.triu(1) + torch.eye(COLUMNS)
    cost = 2.0 ** torch.randint(0, 3, (COLUMNS,), generator=draws)
    order = torch.randperm(COLUMNS, generator=draws) if shuffled else None
    return weight, Feedback(gain=gain, cost=cost, order=order, damping=0.0)


def lowest_half(scores):
    """Half of the columns, those with the least scores, go, of equal ones the first: (n, out) -> where one stays."""
    return scores.argsort(dim=0, stable=True).argsort(dim=0) >= len(scores) // 2


def by_definition(weight, factors, *, grid=None, select=None, every=4, given=None):
    """Column after column in float64: hear from the settled ones, prune or round, say by how much one falls short."""
    order = torch.arange(COLUMNS) if factors.order is None else factors.order
    w, gain = weight.double()[:, order], factors.gain.double()
    result, short, keep = torch.zeros_like(w), torch.zeros_like(w), torch.ones_like(w, dtype=torch.bool)
    if given is not None:
        keep = given[:, order].clone()
    for i in range(COLUMNS):
        if select is not None and i % every == 0:
            span = slice(i, min(i + every, COLUMNS))
            kept = short.clone()  # what the span would be if none of it were pruned
            now = torch.zeros_like(w)
            for j in range(i, span.stop):
                now[:, j] = w[:, j] + kept[:, :j] @ gain[:j, j]
                kept[:, j] = w[:, j] - now[:, j]
            scores = (now[:, span] ** 2 * factors.cost[span].double()).masked_fill(~keep[:, span], -1)
            keep[:, span] &= select(scores.T).T
        value = w[:, i] + short[:, :i] @ gain[:i, i]
        if grid is not None:
            group = int(order[i]) // grid.group_size
            scale, zero = grid.scale[:, group].double(), grid.zero[:, group].double()
            value = ((value / scale).round() + zero).clamp(0, 2**grid.bits - 1) - zero
            result[:, i] = value * keep[:, i]
            short[:, i] = w[:, i] - result[:, i] * scale
        else:
            result[:, i] = value * keep[:, i]
            short[:, i] = w[:, i] - result[:, i]
    back = order.argsort()
    return result[:, back], keep[:, back]


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_codes_equal_the_definitions_with_every_tie(symmetric, shuffled, seed):
    weight, factors = whole_numbers(seed, shuffled=shuffled)
    zero = torch.full((ROWS, 2), 8.0) if symmetric else torch.arange(2.0 * ROWS).view(ROWS, 2) % 16
    grid = Grid(scale=torch.ones(ROWS, 2), zero=zero, bits=4, group_size=COLUMNS // 2, symmetric=symmetric)
    found = sweep(weight, factors, SweepSettings(grid=grid))
    expected, _ = by_definition(weight, factors, grid=grid)
    assert torch.equal(found.result.double() + 0.0, expected + 0.0) and found.keep is None


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("every", [4, 16, 64])  # of 40 columns: whole spans, a shorter last one, a single one
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_masks_equal_the_definitions_with_every_tie(shuffled, seed, every, marked):
    weight, factors = whole_numbers(seed, shuffled=shuffled)
    draws = torch.Generator().manual_seed(seed)
    given = torch.rand(ROWS, COLUMNS, generator=draws) < 0.8 if marked else None
    found = sweep(weight, factors, SweepSettings(select=lowest_half, every=every, keep=given))
    expected, keep = by_definition(weight, factors, select=lowest_half, every=every, given=given)
    assert torch.equal(found.keep, keep) and torch.equal(found.result.double() + 0.0, expected + 0.0)


def test_there_are_ties_to_fall():
    """What the tests above are about is there: weights half-way between two codes, and equal scores in a four."""
    weight, factors = whole_numbers(0, shuffled=False)
    scores = []
    grid = Grid(scale=torch.ones(ROWS, 1), zero=torch.full((ROWS, 1), 8.0), bits=4, group_size=COLUMNS, symmetric=True)
    result, _ = by_definition(weight, factors, grid=grid)
    short = weight.double() - result
    heard = weight.double() + short @ (factors.gain.double() - torch.eye(COLUMNS))
    assert ((heard % 1) == 0.5).sum() > 50
    settings = SweepSettings(select=lambda s: (scores.append(s.sort(0).values), lowest_half(s))[1], every=4)
    sweep(weight, factors, settings)
    assert sum(int((s[1] == s[2]).sum()) for s in scores) >= 10
