"""Means over unequal settings: closed forms, the plain clustered mean, and simulated coverage."""

import numpy as np
import pytest

from llmc.evaluate.stats.estimate import Estimate, clustered_mean, proportion, rate
from llmc.trust.machinery.balance import balanced, scaled, weights


def test_every_stratum_counts_alike_among_its_siblings():
    """a/1 has two items, a/2 one, b one: 1/2 * 1/2 * 1/2 each, 1/4, 1/2."""
    assert weights(["a/1", "a/1", "a/2", "b"]) == [0.125, 0.125, 0.25, 0.5]
    assert balanced([1, 0, 1, 0], ["a/1", "a/1", "a/2", "b"], "wxyz").value == 0.375


def test_with_one_stratum_it_is_the_clustered_mean():
    random = np.random.default_rng(0)
    values, clusters = random.normal(size=60).tolist(), random.integers(0, 12, 60).tolist()
    ours, plain = balanced(values, ["s"] * 60, clusters), clustered_mean(values, clusters)
    assert ours.value == pytest.approx(plain.value) and ours.stderr == pytest.approx(plain.stderr)
    assert ours.ci95 == pytest.approx(plain.ci95)


def test_independent_strata_add_their_variances():
    """Every item its own cluster: Var = (s1^2 (n1-1)/n1 / n1 + s2^2 (n2-1)/n2 / n2) / 4 * n / (n - 1)."""
    a, b = [0.0, 1.0, 1.0, 0.0, 1.0], [0.2, 0.4, 0.9]
    found = balanced([*a, *b], ["a"] * 5 + ["b"] * 3, range(8))
    spread = np.var(a) / 5 + np.var(b) / 3
    assert found.stderr == pytest.approx(np.sqrt(spread / 4 * 8 / 7))


def test_undecided_items_and_lone_clusters():
    assert balanced([None, 1.0, 0.0], ["a", "b", "b"], "xyz").value == 0.5  # a stratum without any value is no stratum
    assert balanced([None], ["a"], "x") == Estimate(None)
    assert balanced([1.0, 0.0], ["a", "a"], "xx").stderr is None


def test_coverage_with_clusters_across_strata():
    """40 clusters with an effect of their own in two strata of unequal size: 95 % intervals hold 93 to 97 %."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(600):
        effect = random.normal(size=40)
        rows = [(effect[c] + random.normal(), s, c) for c in range(40) for s in ("a", "b", "b")]
        found = balanced(*zip(*rows, strict=True))
        held += found.ci95[0] <= 0 <= found.ci95[1]
    assert 0.93 <= held / 600 <= 0.97


def test_right_or_wrong_in_one_stratum_has_the_interval_of_a_rate():
    random = np.random.default_rng(2)
    marks, clusters = (random.uniform(size=90) < 0.9).astype(float).tolist(), random.integers(0, 20, 90).tolist()
    assert balanced(marks, ["s"] * 90, clusters).ci95 == pytest.approx(rate(marks, clusters).ci95)
    assert balanced(marks, ["s"] * 90, range(90)).ci95 == pytest.approx(rate(marks, range(90)).ci95)


def test_coverage_of_rates_near_1_in_strata():
    """Three strata of ten, 95, 90 and 98 % right: Student's holds the truth in 82 % and leaves [0, 1] in 74 %."""
    random = np.random.default_rng(1)
    held, strata = 0, np.repeat(["a", "b", "c"], 10).tolist()
    for _ in range(600):
        marks = random.uniform(size=30) < np.repeat([0.95, 0.9, 0.98], 10)
        low, high = balanced(marks.astype(float).tolist(), strata, range(30)).ci95
        assert 0 <= low < high <= 1
        held += low <= 0.94333 <= high
    assert held / 600 >= 0.94


def test_scaling_turns_the_interval_round():
    assert scaled(Estimate(0.2, 0.1, 4, (0.1, 0.5)), -100, 100) == Estimate(80.0, 10.0, 4, (50.0, 90.0))
    assert scaled(Estimate(None), 100) == Estimate(None)


def test_nothing_is_certain_because_no_value_differs():
    strata, clusters = ["a", "a", "b", "b"], [1, 2, 3, 4]
    for value in (0.0, 1.0):  # as many independent shares as clusters
        low, high = balanced([value] * 4, strata, clusters).ci95
        assert (low, high) == proportion(int(4 * value), 4).ci95 and high - low > 0.4
    assert balanced([0.4] * 4, strata, clusters).ci95 is None
    assert balanced([1.0, 1.0, 0.0, 0.0], strata, clusters).ci95 is None
