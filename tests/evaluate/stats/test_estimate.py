"""The three estimates against their definitions."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from llmc.errors import UserError
from llmc.evaluate.stats.estimate import Estimate, clustered_mean, mean, proportion, rate
from llmc.evaluate.task import Metric


def test_stderr_of_a_mean_is_s_over_root_n():
    values = [1.0, 2.0, 4.0, 9.0]
    assert mean(values).stderr == pytest.approx(statistics.stdev(values) / 2)
    assert mean(values).value == 4.0


def test_one_value_has_no_error_and_none_has_no_value():
    assert mean([3.0]) == Estimate(3.0, None, 1, None)
    assert mean([]) == Estimate(None, None, 0, None)
    assert proportion(0, 0) == Estimate(None)
    assert proportion(1, 1).stderr is None


def test_wilson_solves_its_own_equation():
    """The edges are where |p_hat - p| = z * sqrt(p (1 - p) / n)."""
    found = proportion(3, 40)
    z = 1.959963984540054
    for edge in found.ci95:
        assert abs(3 / 40 - edge) == pytest.approx(z * math.sqrt(edge * (1 - edge) / 40))
    assert proportion(0, 40).ci95[1] > 0.05


def test_a_proportion_is_the_mean_of_zeros_and_ones():
    assert proportion(3, 8).stderr == pytest.approx(mean([1, 1, 1, 0, 0, 0, 0, 0]).stderr)


def test_clustered_error_matches_a_cluster_robust_regression_on_a_constant():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    values = rng.normal(size=60) + rng.normal(size=12)[groups]
    fit = OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups, "df_correction": True})
    # statsmodels multiplies by G/(G-1) * (n-1)/(n-k), and k is 1 here
    assert clustered_mean(values.tolist(), groups.tolist()).stderr == pytest.approx(float(fit.bse[0]))


def test_copies_of_an_item_add_no_certainty():
    once = mean([0.0, 1.0, 1.0, 0.0, 1.0])
    thrice = clustered_mean([0.0, 1.0, 1.0, 0.0, 1.0] * 3, [0, 1, 2, 3, 4] * 3)
    assert thrice.stderr == pytest.approx(once.stderr) and thrice.n == 15


def test_mismatched_lengths_are_refused():
    with pytest.raises(UserError):
        clustered_mean([1.0], [])
    with pytest.raises(UserError):
        proportion(3, 2)


def test_a_rate_without_clusters_is_a_proportion():
    assert rate([1.0, 0.0, 0.0, 1.0], "abcd") == proportion(2, 4)


def test_a_rate_of_pure_copies_is_the_rate_of_the_originals():
    """Four copies of each item: the independent items are a quarter, up to the n - 1 in the error."""
    marks = [1.0] * 9 + [0.0] * 21
    once, copies = proportion(9, 30), rate(marks * 4, list(range(30)) * 4)
    assert copies.ci95 == pytest.approx(once.ci95, abs=0.01)
    assert copies.stderr == pytest.approx(once.stderr)


def test_a_rate_of_zero_isnt_certain():
    assert rate([0.0] * 40, [i // 10 for i in range(40)]).ci95 == proportion(0, 4).ci95


def test_few_clusters_widen_a_rate_by_students_quantile():
    """Korn & Graubard's effective sample of 40 marks in 4 clusters, written out."""
    marks, clusters = [1.0] * 25 + [0.0] * 15, [i % 4 for i in range(40)]
    marks[0] = 0.0
    found = rate(marks, clusters)
    n = 40 / max(1.0, found.stderr**2 * 39 / (0.6 * 0.4)) * (2.0226909 / 3.1824463) ** 2
    assert found.value == 0.6
    for edge in found.ci95:
        assert abs(0.6 - edge) == pytest.approx(1.959964 * math.sqrt(edge * (1 - edge) / n), rel=1e-5)


def test_an_interval_is_cut_to_the_values_that_are_possible():
    found = mean([0.9, 1.0, 1.0, 0.7])
    assert found.ci95[1] > 1 and found.within((0.0, 1.0)) == replace(found, ci95=(found.ci95[0], 1.0))
    assert mean([0.1, 0.0, 0.2]).within((0.0, None)).ci95[0] == 0.0
    assert found.within((None, None)) == found and Estimate(0.5).within((0.0, 1.0)) == Estimate(0.5)


def test_a_cut_interval_still_holds_its_value():
    assert Estimate(1.5, ci95=(1.2, 1.8)).within((0.0, 1.0)).ci95 == (1.2, 1.5)
    assert Estimate(-0.5, ci95=(-0.8, -0.2)).within((0.0, 1.0)).ci95 == (-0.5, -0.2)


def test_a_metric_knows_what_values_are_possible():
    assert Metric(kind="proportion").possible == (0.0, 1.0) and Metric(kind="gap").possible == (-1.0, 1.0)
    assert Metric().possible == (None, None) and Metric(range=(0.0, None)).possible == (0.0, None)
    told = Metric(range=(0.0, 1.0), direction="lower").facts(Estimate(0.9, 0.1, 4, (0.7, 1.1)))
    assert told["ci95"] == [0.7, 1.0] and told["range"] == [0.0, 1.0] and told["direction"] == "lower"


def test_values_that_all_agree_have_no_interval_of_width_0():
    assert clustered_mean([0.7] * 3, "abc").ci95 is None
    assert clustered_mean([0.7, 0.7, 0.8], "abc").ci95 is not None
