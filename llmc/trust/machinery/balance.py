"""Means over settings of unequal size, with an error that respects clusters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from scipy import stats

from llmc.evaluate.stats.estimate import Estimate, rate, score_interval
from llmc.evaluate.task import Scored


def weights(strata: Sequence[str]) -> list[float]:
    """A weight an item, which sum to 1: every stratum counts alike among its siblings, every item in its stratum.

    A stratum is a path, "spurious/adverb/42": the mean is taken over seeds, then over tasks, as the original does.
    """
    children: dict[str, set[str]] = {}
    for stratum in set(strata):
        parts = stratum.split("/")
        for depth in range(len(parts)):
            children.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    share = {}
    for stratum, size in Counter(strata).items():
        parts = stratum.split("/")
        share[stratum] = 1.0 / size
        for depth in range(len(parts)):
            share[stratum] /= len(children["/".join(parts[:depth])])
    return [share[stratum] for stratum in strata]


def balanced(values: Sequence[float | None], strata: Sequence[str], clusters: Sequence[Hashable]) -> Estimate:
    """The mean of the strata's means, over the items that have a value.

    With one stratum this is `llmc.evaluate.stats.estimate.clustered_mean`. The error is the sandwich of that weighted
    mean, clusters may reach over strata, and Student's t has one degree of freedom less than there are clusters. Where
    no value differs from its stratum's mean that interval would have width 0: all ones or all zeros have the interval
    of a share instead, and anything else none. Zeros and ones have the interval of a share throughout.
    """
    rows = [row for row in zip(values, strata, clusters, strict=True) if row[0] is not None]
    if not rows:
        return Estimate(None)
    numbers = [float(row[0] or 0.0) for row in rows]
    names = [row[1] for row in rows]
    share = weights(names)
    centre = math.fsum(w * v for w, v in zip(share, numbers, strict=True))
    means: dict[str, list[float]] = {}
    for name, value in zip(names, numbers, strict=True):
        means.setdefault(name, []).append(value)
    middle = {name: math.fsum(part) / len(part) for name, part in means.items()}
    sums: dict[Hashable, float] = {}
    for w, value, name, cluster in zip(share, numbers, names, (row[2] for row in rows), strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + w * (value - middle[name])
    n = len(sums)
    if n < 2:
        return Estimate(centre, None, len(rows), None)
    stderr = math.sqrt(n / (n - 1) * math.fsum(part**2 for part in sums.values()))
    if all(min(part) == max(part) for part in means.values()):
        same = set(numbers) in ({0.0}, {1.0})
        return Estimate(centre, 0.0, len(rows), rate(numbers, [row[2] for row in rows]).ci95 if same else None)
    if set(numbers) <= {0.0, 1.0}:
        return Estimate(centre, stderr, len(rows), score_interval(centre, stderr, len(rows), n))
    half = float(stats.t.ppf(0.975, n - 1)) * stderr
    return Estimate(centre, stderr, len(rows), (centre - half, centre + half))


def mean_mark(scored: Sequence[Scored], name: str) -> Estimate:
    """The balanced mean of a mark over the strata of its items."""
    return balanced(
        [row.marked.marks.get(name) for row in scored],
        [row.item.stratum or "" for row in scored],
        [row.item.cluster or row.item.id for row in scored],
    )


def scaled(estimate: Estimate, factor: float, offset: float = 0.0) -> Estimate:
    """`factor` times the estimate plus `offset`, errors and interval with it."""
    if estimate.value is None:
        return estimate
    ci95 = None
    if estimate.ci95 is not None:
        low, high = sorted(offset + factor * edge for edge in estimate.ci95)
        ci95 = (low, high)
    stderr = None if estimate.stderr is None else abs(factor) * estimate.stderr
    return Estimate(offset + factor * estimate.value, stderr, estimate.n, ci95)
