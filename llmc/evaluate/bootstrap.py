"""The cluster bootstrap: drawn beside a mean, and the interval of statistics that are no means (gaps, AUC)."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from llmc.evaluate.intervals import Codes, Floats, cluster_sums

_FEW_CLUSTERS = 10
_BLOCK = 512

Rows = NDArray[np.int64]


def generator_of(seed: int, name: str) -> np.random.Generator:
    """The generator of one named row: the same whatever else is drawn before it."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def bootstrap_means(values: Floats, clusters: Codes, *, draws: int, generator: np.random.Generator) -> Floats | None:
    """Means of `draws` samples of whole clusters; None with fewer than 10 clusters.

    Shapes: (n,), (n,) to (draws,). Clusters of the same sum and size are drawn together as one multinomial count,
    which has the same distribution as drawing them one by one and is much faster for marks of 0 and 1.
    Source: Davison & Hinkley 1997, section 3.8.
    """
    sums = cluster_sums(values, clusters)
    sizes = np.bincount(clusters).astype(np.float64)
    if sums.size < _FEW_CLUSTERS:
        return None
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    means = np.empty(draws)
    for start in range(0, draws, _BLOCK):
        stop = min(start + _BLOCK, draws)
        drawn = generator.multinomial(sums.size, counts / sums.size, size=stop - start)
        means[start:stop] = (drawn @ kinds[0]) / (drawn @ kinds[1])
    return means


def bootstrap_statistic(
    statistic: Callable[[Rows], float | None], clusters: Codes, *, draws: int, generator: np.random.Generator
) -> tuple[float, float, float] | None:
    """(standard error, 2.5 % edge, 97.5 % edge) of any statistic of item rows, resampling whole clusters.

    `statistic` gets the rows drawn (with repeats) and must use the same rows for both models. The error is the
    standard deviation of the replicates, not divided by sqrt(draws). None with fewer than 10 clusters, or when more
    than 1 % of the replicates are undefined.
    Source: Efron & Tibshirani 1993, algorithm 6.1.
    """
    order = np.argsort(clusters, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(clusters))[:-1])
    if len(members) < _FEW_CLUSTERS:
        return None
    found = []
    for _ in range(draws):
        drawn = generator.integers(0, len(members), size=len(members))
        value = statistic(np.concatenate([members[i] for i in drawn]))
        if value is not None and np.isfinite(value):
            found.append(value)
    if len(found) < 0.99 * draws:
        return None
    replicates = np.asarray(found)
    low, high = np.quantile(replicates, (0.025, 0.975))
    return float(replicates.std(ddof=1)), float(low), float(high)
