"""McNemar's mid-p against enumeration and its size; the sign-flip test against every pattern."""

import itertools
from math import comb

import numpy as np
import pytest
from scipy import stats

from llmc.evaluate.stats.mcnemar import mcnemar_mid_p, sign_flip_p


def mid_p_by_definition(gained, lost):
    """The weight of all tables rarer than the one seen on either side, and half that of those equally rare."""
    m = gained + lost
    weights = [comb(m, k) / 2**m for k in range(m + 1)]
    distance = abs(gained - lost)
    rarer = sum(w for k, w in enumerate(weights) if abs(2 * k - m) > distance)
    same = sum(w for k, w in enumerate(weights) if abs(2 * k - m) == distance)
    return rarer + same / 2


@pytest.mark.parametrize("gained, lost", [(b, c) for b in range(9) for c in range(9)])
def test_mid_p_is_its_definition(gained, lost):
    expected = 1.0 if gained + lost == 0 else mid_p_by_definition(gained, lost)
    assert mcnemar_mid_p(gained, lost) == pytest.approx(expected)


def size_of(test, flip_rate, n, level=0.05):
    """The chance of p <= level with equally many gained and lost in truth, by enumeration."""
    total = 0.0
    for m in range(n + 1):
        weight = stats.binom.pmf(m, n, flip_rate)
        if weight > 1e-10:
            total += weight * sum(stats.binom.pmf(k, m, 0.5) for k in range(m + 1) if test(k, m - k) <= level)
    return total


@pytest.mark.parametrize("n, mid, exact", [(100, 0.025, 0.009), (300, 0.046, 0.027)])
def test_the_size_at_5_percent_is_the_specifications(n, mid, exact):
    """Row "McNemar type I": mid-p stays within 0.02-0.053 where the exact test wastes half of it."""
    assert size_of(mcnemar_mid_p, 0.05, n) == pytest.approx(mid, abs=0.003)
    assert size_of(lambda b, c: min(1.0, 2 * stats.binom.cdf(min(b, c), b + c, 0.5)), 0.05, n) == pytest.approx(
        exact, abs=0.003
    )


def test_without_flips_there_is_no_evidence():
    """statsmodels 0.15 gives 0.0 or NaN here."""
    assert mcnemar_mid_p(0, 0) == sign_flip_p(np.zeros(8)) == 1.0


def test_sign_flips_count_every_pattern():
    sums = np.array([2.0, 1.0, 1.0, -1.0, 3.0])
    patterns = [abs(sum(s * x for s, x in zip(p, sums, strict=True))) for p in itertools.product((1, -1), repeat=5)]
    assert sign_flip_p(sums) == np.mean([p >= 6.0 for p in patterns])


def test_drawn_sign_flips_approach_the_exact_binomial():
    """20 clusters of one flip each, 15 of them lost: the pattern count is the two-sided binomial test."""
    sums = np.array([-1.0] * 15 + [1.0] * 5)
    assert sign_flip_p(sums, generator=np.random.default_rng(3)) == pytest.approx(
        stats.binomtest(5, 20).pvalue, abs=0.006
    )


@pytest.mark.parametrize("shift, n", [(0.0, 12), (0.6, 12), (0.35, 60), (0.2, 200)])
def test_sign_flips_of_graded_sums_agree_with_scipy(shift, n):
    sums = np.random.default_rng(n).normal(shift, 1.0, n)
    theirs = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", n_resamples=9_999, random_state=np.random.default_rng(5)
    )
    assert sign_flip_p(sums) == pytest.approx(theirs.pvalue, abs=0.015)


def test_sums_of_few_sizes_and_of_many_are_drawn_with_the_same_distribution():
    """The binomial counts of equal sizes against single signs: the same sums, told apart by a hair's breadth."""
    sums = np.array([-2.0] * 40 + [2.0] * 30 + [-1.0] * 30 + [1.0] * 20)
    apart = sums + 1e-12 * np.arange(sums.size)
    assert np.unique(np.abs(sums)).size == 2 and np.unique(np.abs(apart)).size > 64
    assert sign_flip_p(sums) == pytest.approx(sign_flip_p(apart), abs=0.015)


def test_a_drawn_p_value_is_never_0_and_counts_the_observed_pattern():
    assert sign_flip_p(np.ones(200), draws=99) == 0.01
    assert sign_flip_p(np.arange(1.0, 201.0), draws=99) == 0.01


def test_sums_equal_up_to_rounding_count_as_equal():
    """0.1 + 0.2 + 0.3 and its mirror image: every sign pattern of the same size is as extreme as the observed one."""
    assert sign_flip_p(np.array([0.1, 0.2, -0.3, 0.3])) == np.mean(
        [abs(a + 2 * b + 3 * c + 3 * d) >= 3 for a, b, c, d in itertools.product((1, -1), repeat=4)]
    )
