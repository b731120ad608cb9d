"""The cluster bootstrap of a mean: drawn beside the interval that decides, and decides nothing."""

from __future__ import annotations

import zlib

import numpy as np

from llmc.evaluate.stats.intervals import Codes, Floats, cluster_sums

_FEW_CLUSTERS = 10
_BLOCK = 512


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
