"""Intervals of means, shares and quantiles against statsmodels, closed forms and simulation."""

import numpy as np
import pytest
import statsmodels.api as sm

from llmc.evaluate.stats.intervals import (
    cluster_mean,
    quantile_interval,
    share_interval,
)


def clustered(seed, n_clusters, size):
    generator = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), size)
    return generator.normal(size=clusters.size) + generator.normal(size=n_clusters)[clusters], clusters


@pytest.mark.parametrize("n_clusters, size", [(5, 4), (30, 7), (100, 1)])
def test_the_clustered_error_is_statsmodels(n_clusters, size):
    values, clusters = clustered(1, n_clusters, size)
    fit = sm.OLS(values, np.ones_like(values)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True
    )
    mean = cluster_mean(values, clusters)
    assert mean.value == pytest.approx(fit.params[0])
    # statsmodels also scales by (n - 1) / (n - k) = 1 for an intercept alone.
    assert mean.stderr == pytest.approx(fit.bse[0])
    assert mean.edges() == pytest.approx(tuple(fit.conf_int()[0]))


def test_items_of_their_own_have_the_textbook_error():
    values = np.array([0.0, 1.0, 1.0, 5.0])
    mean = cluster_mean(values, np.arange(4))
    assert mean.stderr == pytest.approx(values.std(ddof=1) / 2)
    assert mean.deff == pytest.approx(1.0)


def test_copies_within_clusters_have_their_number_as_design_effect():
    """k copies of each of G values: variance of the mean s^2 / G, against (about) s^2 / (k G)."""
    values, clusters = np.repeat(np.random.default_rng(0).normal(size=200), 5), np.repeat(np.arange(200), 5)
    assert cluster_mean(values, clusters).deff == pytest.approx(5.0, rel=0.01)


def test_one_cluster_and_no_item_have_no_error():
    assert cluster_mean(np.array([]), np.array([], dtype=int)) is None
    mean = cluster_mean(np.array([1.0, 2.0]), np.array([0, 0]))
    assert mean.stderr is None and mean.edges() is None and mean.p_below(0.0) is None


@pytest.mark.parametrize("n_clusters, least", [(5, 0.92), (10, 0.935), (50, 0.935)])
def test_clustered_coverage(n_clusters, least):
    """Row "Cluster coverage 95 %": t 0.934 / 0.947 / 0.951 for 5 / 10 / 50 clusters."""
    generator, hits, draws = np.random.default_rng(7), 0, 2_000
    for _ in range(draws):
        sizes = generator.integers(2, 9, size=n_clusters)
        clusters = np.repeat(np.arange(n_clusters), sizes)
        values = generator.normal(size=clusters.size) + generator.normal(size=n_clusters)[clusters]
        low, high = cluster_mean(values, clusters).edges()
        hits += low <= 0 <= high
    assert hits / draws >= least - 3 * np.sqrt(0.05 * 0.95 / draws)


def test_wilsons_edges_solve_its_equation():
    """Both edges p satisfy (k/n - p)^2 = z^2 p (1 - p) / n."""
    for edge in share_interval(7, 40):
        assert (7 / 40 - edge) ** 2 == pytest.approx(1.959964**2 * edge * (1 - edge) / 40, rel=1e-5)


def test_the_median_interval_is_the_sign_tests():
    """n = 20: ranks 6 and 15 of the ordered sample, since P(Bin(20, 1/2) <= 5) = 0.0207 < 0.025."""
    assert quantile_interval(np.arange(1.0, 21.0), 0.5) == (6.0, 15.0)


def test_a_99_percent_quantile_needs_enough_items():
    assert quantile_interval(np.arange(50.0), 0.99) is None
    low, high = quantile_interval(np.arange(2_000.0), 0.99)
    assert low < 1979 < high


def test_quantile_coverage():
    generator = np.random.default_rng(2)
    edges = [quantile_interval(generator.exponential(size=800), 0.95) for _ in range(500)]
    assert np.mean([low <= -np.log(0.05) <= high for low, high in edges]) >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 500)
