"""Intervals of one run's numbers and of single samples: means over clusters, shares, quantiles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


class ClusterMean(NamedTuple):
    """A mean over items of `n_clusters` clusters. `stderr` is None below two clusters."""

    value: float
    stderr: float | None
    n: int
    n_clusters: int
    deff: float | None
    """Variance over what independent items would have; None where that is 0 or undefined."""

    def edges(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Student's interval with n_clusters - 1 degrees of freedom."""
        if self.stderr is None:
            return None
        half = float(stats.t.ppf(0.5 + confidence / 2, self.n_clusters - 1)) * self.stderr
        return self.value - half, self.value + half

    def p_below(self, theta: float) -> float | None:
        """The one-sided p-value against H0: the mean is at least `theta`."""
        if self.stderr is None:
            return None
        if self.stderr == 0:
            return 1.0 if self.value >= theta else 0.0
        return float(stats.t.cdf((self.value - theta) / self.stderr, self.n_clusters - 1))


def cluster_sums(values: Floats, clusters: Codes) -> Floats:
    """The sum of `values` within each cluster. Shapes: (n,) and codes 0..G-1 (n,) to (G,)."""
    return np.bincount(clusters, weights=values).astype(np.float64)


def cluster_mean(values: Floats, clusters: Codes) -> ClusterMean | None:
    """The mean with an error that lets the items of a cluster move together; None without items.

    Shapes: `values` and `clusters` (n,), clusters coded 0..G-1.
    Source: Liang & Zeger 1986 with the factor G / (G - 1); equals statsmodels'
    `OLS(d, 1).fit(cov_type="cluster", use_t=True)`.
    """
    n = values.size
    if n == 0:
        return None
    value = float(values.mean())
    sums = cluster_sums(values - value, clusters)
    n_clusters = sums.size
    if n_clusters < 2:
        return ClusterMean(value, None, n, n_clusters, None)
    variance = n_clusters / (n_clusters - 1) * float(np.square(sums).sum()) / n**2
    independent = float(np.square(values - value).sum()) / (n * (n - 1))
    deff = variance / independent if independent > 0 else None
    return ClusterMean(value, float(np.sqrt(variance)), n, n_clusters, deff)


def share_interval(n_hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share. Range: inside [0, 1], never empty."""
    found = stats.binomtest(n_hits, n).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def quantile_interval(values: Floats, q: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Edges of the q-quantile from order statistics, whatever the distribution; None when n is too small.

    Items are taken as independent. Source: David & Nagaraja, Order Statistics, section 7.1.
    """
    n = values.size
    if n == 0:
        return None
    tail = (1 - confidence) / 2
    low_rank = int(stats.binom.ppf(tail, n, q))
    high_rank = int(stats.binom.isf(tail, n, q)) + 1
    if low_rank < 1 or high_rank > n:
        return None
    ordered = np.sort(values)
    return float(ordered[low_rank - 1]), float(ordered[high_rank - 1])
