"""The cluster bootstrap against the analytic error, and its random numbers."""

import numpy as np
import pytest

from llmc.evaluate.bootstrap import bootstrap_means, bootstrap_statistic, generator_of
from llmc.evaluate.intervals import cluster_mean


def sample(n_clusters=150, size=4):
    generator = np.random.default_rng(3)
    clusters = np.repeat(np.arange(n_clusters), size)
    return generator.normal(size=clusters.size) + generator.normal(size=n_clusters)[clusters], clusters


def test_the_spread_of_bootstrap_means_is_the_clustered_error():
    values, clusters = sample()
    means = bootstrap_means(values, clusters, draws=4_000, generator=np.random.default_rng(0))
    assert means.std(ddof=1) == pytest.approx(cluster_mean(values, clusters).stderr, rel=0.06)


def test_a_statistic_that_is_the_mean_agrees_with_the_means():
    """Not divided by sqrt(draws): that would be 20 times too small here."""
    values, clusters = sample()
    stderr, low, high = bootstrap_statistic(
        lambda rows: float(values[rows].mean()), clusters, draws=400, generator=np.random.default_rng(1)
    )
    assert stderr == pytest.approx(cluster_mean(values, clusters).stderr, rel=0.12)
    assert low < values.mean() < high


def test_clusters_are_drawn_whole():
    clusters = np.repeat(np.arange(12), 3)
    seen = []
    bootstrap_statistic(lambda rows: seen.append(rows) or 0.0, clusters, draws=5, generator=np.random.default_rng(0))
    for rows in seen:
        assert all(count % 3 == 0 for count in np.bincount(clusters[rows]))


def test_fewer_than_ten_clusters_or_undefined_replicates_have_no_bootstrap():
    generator = np.random.default_rng(0)
    assert bootstrap_means(np.ones(9), np.arange(9), draws=10, generator=generator) is None
    assert bootstrap_statistic(lambda rows: 1.0, np.arange(9), draws=10, generator=generator) is None
    assert bootstrap_statistic(lambda rows: None, np.arange(20), draws=10, generator=generator) is None


def test_each_name_has_its_own_numbers():
    assert generator_of(1, "a").integers(1 << 40) == generator_of(1, "a").integers(1 << 40)
    assert generator_of(1, "a").integers(1 << 40) != generator_of(1, "b").integers(1 << 40)
