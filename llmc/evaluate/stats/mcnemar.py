"""Tests of "as many gained as lost": for the details of a report, never for its verdict."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

_EXHAUSTIVE_UP_TO = 14
_BLOCK = 256
_FEW_SIZES = 64


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """The two-sided mid-p value: twice the binomial tail, with half the weight on the table that was seen.

    1 without flips: statsmodels' `mcnemar(exact=False)` gives 0 or NaN there, so it isn't used.
    Source: McNemar 1947; Fagerland et al. 2013 (BMC Med Res Methodol 13:91), eq. 4.
    """
    if gained + lost == 0:
        return 1.0
    seen = float(stats.binom.pmf(min(gained, lost), gained + lost, 0.5))
    if gained == lost:
        return 1 - seen / 2
    return 2 * float(stats.binom.cdf(min(gained, lost), gained + lost, 0.5)) - seen


def sign_flip_p(
    cluster_sums: NDArray[np.float64], *, draws: int = 9_999, generator: np.random.Generator | None = None
) -> float:
    """The two-sided p-value of "no change" when whole clusters could have swapped their two runs.

    Shapes: `cluster_sums` (n_clusters,), the sum of differences in each cluster. All 2^G sign patterns up to 14
    clusters that changed, else `draws` random ones and the observed one. Clusters whose sums have the same size are
    drawn together, as one binomial count of those that keep their sign.
    Source: Fisher's randomisation test of paired differences; `scipy.stats.permutation_test(..., "samples")`.
    """
    moved = cluster_sums[cluster_sums != 0]
    if moved.size == 0:
        return 1.0
    # Sums of the same terms in another order differ in their last digits and must count as equal.
    observed = abs(float(moved.sum())) - 1e-9 * float(np.abs(moved).sum())
    if moved.size <= _EXHAUSTIVE_UP_TO:
        patterns = (np.arange(2**moved.size)[:, None] >> np.arange(moved.size)) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ moved) >= observed))
    generator = np.random.default_rng(0) if generator is None else generator
    sizes, counts = np.unique(np.abs(moved), return_counts=True)
    n_extreme = 0
    for start in range(0, draws, _BLOCK):
        shape = min(_BLOCK, draws - start), sizes.size
        if sizes.size <= _FEW_SIZES:
            signs = 2 * generator.binomial(counts, 0.5, size=shape) - counts
        else:
            # Single signs are drawn faster than binomial counts of one or two.
            shape, sizes = (shape[0], moved.size), moved
            signs = generator.integers(0, 2, size=shape, dtype=np.int8) * 2 - 1
        n_extreme += int(np.sum(np.abs(signs @ sizes) >= observed))
    return (n_extreme + 1) / (draws + 1)
