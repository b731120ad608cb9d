"""One number with its uncertainty, and the three estimates that every task needs: mean, proportion, clustered mean."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace

from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from llmc.errors import UserError

Range = tuple[float | None, float | None]
"""The least and the greatest value that a statistic can have; None: no end on that side."""


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty. What is undefined is None, never 0 or NaN."""

    value: float | None
    stderr: float | None = None
    n: int = 0
    """Items behind the value."""
    ci95: tuple[float, float] | None = None
    """Edges of the 95 % interval, which needn't be symmetric."""

    def as_dict(self) -> dict[str, object]:
        """The estimate as plain data for JSON; the interval is a list."""
        fields = asdict(self)
        fields["ci95"] = None if self.ci95 is None else list(self.ci95)
        return fields

    def within(self, possible: Range) -> Estimate:
        """The estimate with its interval cut to the values that are possible.

        What is cut off can't be the true value, so the interval holds that as often as before.
        """
        if self.value is None or self.ci95 is None:
            return self
        (low, high), (least, greatest) = self.ci95, possible
        # A value that is out of its range shows a metric that was declared wrongly; its interval still holds it.
        low = low if least is None else max(low, min(least, self.value))
        high = high if greatest is None else min(high, max(greatest, self.value))
        return replace(self, ci95=(low, high))


def mean(values: Sequence[float]) -> Estimate:
    """The mean, its standard error s / sqrt(n), and Student's interval with n - 1 degrees of freedom."""
    return clustered_mean(values, range(len(values)))


def proportion(n_hits: int, n: int) -> Estimate:
    """The share n_hits / n with Wilson's interval, which stays inside [0, 1] and isn't empty at the ends.

    The standard error is that of the mean of n zeros and ones (n - 1 in the denominator).
    Source: Wilson 1927; `statsmodels.stats.proportion`.
    """
    if not 0 <= n_hits <= n:
        raise UserError(f"{n_hits} hits of {n} items is not a proportion")
    if n == 0:
        return Estimate(None)
    share = n_hits / n
    stderr = math.sqrt(share * (1 - share) / (n - 1)) if n > 1 else None
    return Estimate(share, stderr, n, _wilson(share, n))


def _wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's edges; exactly 0 and 1 at the ends, where rounding would leave a crumb."""
    low, high = proportion_confint(share * n, n, alpha=0.05, method="wilson")
    return (0.0 if share == 0 else float(low), 1.0 if share == 1 else float(high))


def rate(marks: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """The share of ones among zeros and ones, with an interval that stays inside [0, 1] and isn't empty at the ends.

    Without clusters it is `proportion`. With them it is `score_interval`'s; where all marks agree nothing is known of
    the clusters' effect, and one item a cluster is counted.
    """
    n_hits, n = round(math.fsum(marks)), len(marks)
    n_clusters = len(set(clusters))
    plain = proportion(n_hits, n)
    if n_clusters == n or n == 0 or plain.value is None:
        return plain
    clustered = clustered_mean(marks, clusters)
    if clustered.stderr is None or plain.value in (0.0, 1.0):
        return Estimate(plain.value, clustered.stderr, n, _wilson(plain.value, n_clusters))
    return Estimate(plain.value, clustered.stderr, n, score_interval(plain.value, clustered.stderr, n, n_clusters))


def score_interval(share: float, stderr: float, n: int, n_clusters: int) -> tuple[float, float]:
    """Wilson's interval of a share with a clustered or stratified error: that of as many independent items.

    `share` lies inside (0, 1). n is divided by the design effect, the squared error over that of n independent items,
    where that is above 1, and made smaller for an error that few clusters tell of: by the squared ratio of Student's
    quantiles with n - 1 and with n_clusters - 1 degrees of freedom.
    Source: Korn & Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts"
    (there with Clopper-Pearson's edges).
    """
    deff = max(1.0, stderr**2 * (n - 1) / (share * (1 - share)))
    few = float(stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, n_clusters - 1))
    return _wilson(share, n / deff * few**2)


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """The mean over items, with an error that lets items of one cluster go up and down together.

    With every item its own cluster this is `mean`, to the last digit but rounding. The error and the interval are
    None below two clusters. Where all values are equal there is no interval either: that nothing moved in this sample
    doesn't say that nothing can.
    Source: Liang & Zeger 1986 (sandwich variance of an intercept), with the factor G / (G - 1) and t with G - 1
    degrees of freedom.
    """
    n = len(values)
    if n != len(clusters):
        raise UserError(f"{n} values but {len(clusters)} cluster names")
    if n == 0:
        return Estimate(None)
    centre = math.fsum(values) / n
    sums: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums.setdefault(cluster, []).append(value - centre)
    n_clusters = len(sums)
    if n_clusters < 2:
        return Estimate(centre, None, n, None)
    spread = math.fsum(math.fsum(part) ** 2 for part in sums.values())
    stderr = math.sqrt(n_clusters / (n_clusters - 1) * spread) / n
    if min(values) == max(values):
        return Estimate(centre, 0.0, n, None)
    half = float(stats.t.ppf(0.975, n_clusters - 1)) * stderr
    return Estimate(centre, stderr, n, (centre - half, centre + half))
