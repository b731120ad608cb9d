"""The cluster bootstrap against the analytic error, and its random numbers."""

import numpy as np
import pytest

from llmc.evaluate.stats.bootstrap import bootstrap_means, generator_of
from llmc.evaluate.stats.intervals import cluster_mean


def sample(n_clusters=150, size=4):
    generator = np.random.default_rng(3)
    clusters = np.repeat(np.arange(n_clusters), size)
    return generator.normal(size=clusters.size) + generator.normal(size=n_clusters)[clusters], clusters


def test_the_spread_of_bootstrap_means_is_the_clustered_error():
    values, clusters = sample()
    means = bootstrap_means(values, clusters, draws=4_000, generator=np.random.default_rng(0))
    assert means.std(ddof=1) == pytest.approx(cluster_mean(values, clusters).stderr, rel=0.06)


def test_clusters_are_drawn_whole():
    """Of clusters that hold 0 and 1 alike, every sample has the mean 1/2."""
    values = np.tile([0.0, 1.0], 12)
    means = bootstrap_means(values, np.repeat(np.arange(12), 2), draws=50, generator=np.random.default_rng(0))
    assert means == pytest.approx(np.full(50, 0.5))


def test_fewer_than_ten_clusters_have_no_bootstrap():
    assert bootstrap_means(np.ones(9), np.arange(9), draws=10, generator=np.random.default_rng(0)) is None


def test_each_name_has_its_own_numbers():
    assert generator_of(1, "a").integers(1 << 40) == generator_of(1, "a").integers(1 << 40)
    assert generator_of(1, "a").integers(1 << 40) != generator_of(1, "b").integers(1 << 40)
