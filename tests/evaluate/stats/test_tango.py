"""Tango's interval against the likelihood it is defined by, McNemar's test, and enumeration of all tables."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from llmc.errors import UserError
from llmc.evaluate.stats.tango import tango_interval, tango_p_of_loss, tango_statistic

TABLES = [(9, 14, 1531), (20, 45, 800), (0, 10, 40), (3, 0, 25), (0, 0, 200), (6, 6, 50)]


def likely_share_lost(gained, lost, n, theta):
    """The share lost that maximises the trinomial likelihood when share gained - share lost = theta."""
    low, high = max(0.0, -theta), (1 - theta) / 2

    def minus_log_likelihood(q):
        shares = (q + theta, q, 1 - 2 * q - theta)
        counts = (gained, lost, n - gained - lost)
        return -sum(k * math.log(max(p, 1e-300)) for k, p in zip(counts, shares, strict=True) if k)

    grid = np.linspace(low + 1e-9, high - 1e-9, 400)
    best = grid[np.argmin([minus_log_likelihood(q) for q in grid])]
    step = grid[1] - grid[0]
    bounds = (max(low, best - step), min(high, best + step))
    return optimize.minimize_scalar(minus_log_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x


@pytest.mark.parametrize("gained, lost, n", TABLES)
@pytest.mark.parametrize("theta", [-0.2, -0.01, 0.03])
def test_the_variance_is_that_of_the_most_likely_table(gained, lost, n, theta):
    q = likely_share_lost(gained, lost, n, theta)
    variance = n * (2 * q + theta - theta**2)
    assert tango_statistic(gained, lost, n, theta) == pytest.approx(
        (gained - lost - n * theta) / math.sqrt(variance), rel=2e-4
    )


@pytest.mark.parametrize("gained, lost, n", [t for t in TABLES if t[0] + t[1]])
def test_at_no_difference_it_is_mcnemars_statistic(gained, lost, n):
    assert tango_statistic(gained, lost, n, 0.0) == pytest.approx((gained - lost) / math.sqrt(gained + lost))


@pytest.mark.parametrize("gained, lost, n", TABLES)
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_edges_solve_the_score_equation(gained, lost, n, confidence):
    low, high = tango_interval(gained, lost, n, confidence)
    z = stats.norm.ppf(0.5 + confidence / 2)
    assert tango_statistic(gained, lost, n, low) == pytest.approx(z, abs=1e-6)
    assert tango_statistic(gained, lost, n, high) == pytest.approx(-z, abs=1e-6)
    assert low < (gained - lost) / n < high


def test_no_flips_in_200_items_still_allow_1_9_points():
    """With b = c = 0 the edge solves n theta = z^2 (1 - theta) (the likely q is 0), so theta = z^2 / (n + z^2)."""
    z2 = stats.norm.ppf(0.975) ** 2
    low, high = tango_interval(0, 0, 200)
    assert (low, high) == pytest.approx((-z2 / (200 + z2), z2 / (200 + z2)))
    assert round(100 * high, 1) == 1.9


@pytest.mark.parametrize("gained, lost, n", TABLES)
def test_swapping_the_runs_mirrors_the_interval(gained, lost, n):
    low, high = tango_interval(gained, lost, n)
    assert tango_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-12)


def test_all_items_lost_reach_the_end_of_the_scale():
    low, high = tango_interval(0, 10, 10)
    assert low == -1.0 and -1 < high < 0
    assert tango_statistic(0, 10, 10, -1.0) == 0.0
    assert tango_interval(1, 0, 1)[1] == 1.0


def test_the_p_value_of_a_loss_is_half_the_error_at_the_edge():
    _, high = tango_interval(20, 45, 800, 0.95)
    assert tango_p_of_loss(20, 45, 800, -high) == pytest.approx(0.025, abs=1e-6)


def test_what_is_no_table_is_refused():
    with pytest.raises(UserError):
        tango_interval(5, 6, 10)
    with pytest.raises(UserError):
        tango_interval(0, 0, 0)


def coverage(share_gained, share_lost, n):
    """The chance that the interval holds the truth, over every table of n items."""
    truth, total = share_gained - share_lost, 0.0
    z = stats.norm.ppf(0.975)
    for gained in range(n + 1):
        losses = np.arange(n - gained + 1)
        weights = stats.multinomial.pmf(
            np.stack([np.full_like(losses, gained), losses, n - gained - losses], axis=1),
            n,
            [share_gained, share_lost, 1 - share_gained - share_lost],
        )
        for lost, weight in zip(losses, weights, strict=True):
            if weight > 1e-12 and abs(tango_statistic(gained, int(lost), n, truth)) <= z:
                total += weight
    return total


@pytest.mark.parametrize(
    "share_gained, share_lost, n, least", [(0.05, 0.05, 20, 0.95), (0.10, 0.20, 20, 0.93), (0.01, 0.04, 50, 0.935)]
)
def test_coverage_by_enumeration(share_gained, share_lost, n, least):
    """Row "Coverage 95 %, binary" of the specification; n = 50 there has 0.988."""
    assert least <= coverage(share_gained, share_lost, n) <= 1


def test_an_impossible_difference_is_infinitely_far_on_its_own_side():
    assert tango_statistic(0, 3, 10, -1.0) == np.inf
    assert tango_statistic(0, 3, 10, 1.0) == -np.inf
    assert tango_statistic(0, 10, 10, -1.0) == 0.0
