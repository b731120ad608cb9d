"""The difference of two runs on the same items, with the interval that decides: no random numbers, never width 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy import optimize, stats

from llmc.errors import UserError
from llmc.evaluate.stats.intervals import ClusterMean, Codes, Floats, cluster_mean
from llmc.evaluate.stats.tango import tango_interval, tango_p_of_loss
from llmc.evaluate.stats.unseen import Room, room_of

Route = Literal["tango and cluster-t", "cluster-t", "mean of tasks", "unpaired"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Compressed minus dense, turned so that higher is better, in the metric's own unit (a share: 0 to 1)."""

    value: float
    low: float | None
    """Edges of the deciding interval; None where it is undefined (one cluster)."""
    high: float | None
    confidence: float
    n: int
    n_clusters: int
    route: Route
    stderr: float | None
    deff: float | None = None
    gained: int | None = None
    """Items that only the compressed model has right; None unless every mark is 0 or 1."""
    lost: int | None = None
    parts: tuple[Difference, ...] = ()
    """The tasks' differences behind a mean of tasks."""
    weights: tuple[float, ...] = ()
    largest: float | None = None
    """The largest change that is possible, either way; None where there is no such."""
    room: Room | None = field(default=None, repr=False, compare=False)
    """What the sample leaves room for; None of means of tasks, of unpaired ones, and where that is not known."""

    @property
    def shown(self) -> tuple[float, float] | None:
        """Both edges, cut to what is possible: Student's over few clusters can lie beyond. None where undefined.

        For people only. The decision reads the edges as they are, and so do means of several tasks, whose recovery
        takes an edge for a multiple of the error.
        """
        if self.low is None or self.high is None:
            return None
        if self.largest is None:
            return self.low, self.high
        return max(self.low, -self.largest), min(self.high, self.largest)

    @property
    def flip_rate(self) -> float | None:
        """The share of items that are right in one run only."""
        return None if self.gained is None or self.lost is None else (self.gained + self.lost) / self.n


def paired_difference(
    dense: Floats,
    compressed: Floats,
    clusters: Codes,
    *,
    confidence: float = 0.95,
    largest: float | None = None,
    reach: float | None = None,
) -> Difference:
    """The mean of compressed - dense over the same items, with its deciding interval.

    Shapes: all (n,), in the same item order; clusters coded 0..G-1; marks turned so that higher is better.
    For marks of 0 and 1 each edge is the outer one of Tango's and Student's over clusters; where clusters hold more
    than one item and a design effect above 1, also of Tango's in the effective sample n / deff (see docs/statistics.md
    for what that mends). Other marks have Student's; where not one moved, Tango's of no flips in G items, since a
    width of 0 would claim a certainty that G clusters cannot give. No edge is nearer than the one that leaves room for
    what the sample missed (`unseen.Room`) at twice the level: so a loss of exactly the margin passes in at most 5 %,
    however few and large the losses are, and in 2.5 % where Student's or Tango's holds.
    `largest` is the largest change of the mean that is possible, `reach` that of an item's mark where it is another.
    Source: report.md section 6.
    """
    if not dense.size == compressed.size == clusters.size or dense.size == 0:
        raise UserError(f"{dense.size} dense, {compressed.size} compressed marks, {clusters.size} clusters: no pairs")
    if not (np.isfinite(dense).all() and np.isfinite(compressed).all()):
        raise UserError("a mark is not a finite number")
    change = compressed - dense
    mean = cluster_mean(change, clusters)
    assert mean is not None
    binary = bool(np.isin(dense, (0.0, 1.0)).all() and np.isin(compressed, (0.0, 1.0)).all())
    largest = 1.0 if binary else largest
    found = Difference(
        value=mean.value,
        low=None,
        high=None,
        confidence=confidence,
        n=mean.n,
        n_clusters=mean.n_clusters,
        route="tango and cluster-t" if binary else "cluster-t",
        stderr=mean.stderr,
        deff=mean.deff,
        gained=int((change > 0).sum()) if binary else None,
        lost=int((change < 0).sum()) if binary else None,
        largest=largest,
        room=room_of(change, clusters, 1.0 if binary else reach or largest),
    )
    low, high = _edges(found, confidence)
    return replace(found, low=low, high=high)


def _edges(d: Difference, confidence: float, factor: float = 1.0) -> tuple[float | None, float | None]:
    """Both edges of a paired difference, as they would be with `factor` times as many clusters of the same kinds."""
    if d.stderr is None:
        return None, None
    df = max(factor * d.n_clusters - 1, 1e-3)
    half = float(stats.t.ppf(0.5 + confidence / 2, df)) * d.stderr / math.sqrt(factor)
    edges = [(d.value - half, d.value + half)]
    if d.gained is not None and d.lost is not None:
        gained, lost, n = factor * d.gained, factor * d.lost, factor * d.n
        edges.append(tango_interval(gained, lost, n, confidence))
        if (deff := _effective(d)) is not None:
            edges.append(tango_interval(gained / deff, lost / deff, n / deff, confidence, df=df))
    elif d.stderr == 0:
        # Marks that moved by the same non-zero amount on every item are shifted, not unmoved.
        still = tango_interval(0, 0, factor * d.n_clusters, confidence)
        edges.append((d.value + still[0], d.value + still[1]))
    low, high = min(low for low, _ in edges), max(high for _, high in edges)
    if d.room is None:
        return low, high
    room = d.room.of_more(factor)
    return room.low(1 - confidence, low), room.high(1 - confidence, high)


def _effective(d: Difference) -> float | None:
    """The design effect, where items share clusters and it is above 1."""
    return d.deff if d.n_clusters < d.n and d.deff is not None and d.deff > 1 else None


def mean_of_differences(
    parts: Sequence[Difference], weights: Sequence[float] | None = None, *, confidence: float = 0.95
) -> Difference:
    """The weighted mean of several tasks' differences; its interval recovers each task's own edges.

    lower = sum(w d) - sqrt(sum (w (d - l))^2), upper likewise: with symmetric intervals this is the usual
    sqrt(sum w^2 SE^2), and unlike that it does not vanish where nothing flipped. Weights are scaled to sum to 1
    (default: equal). One task keeps its interval.
    Source: Zou & Donner 2008 (Statistics in Medicine 27:1693), method of variance estimates recovery.
    """
    if not parts:
        raise UserError("a mean of no tasks is undefined")
    given = [1.0] * len(parts) if weights is None else [float(w) for w in weights]
    if len(given) != len(parts) or min(given) < 0 or sum(given) <= 0:
        raise UserError(f"weights {given} don't weigh {len(parts)} tasks")
    shares = tuple(w / sum(given) for w in given)
    if len(parts) == 1 and parts[0].confidence == confidence:
        return parts[0]
    low, high = _recovered(parts, shares, confidence)
    errors = [p.stderr for p in parts]
    known = [e for e in errors if e is not None]
    counted = all(p.gained is not None for p in parts)
    bounds = [p.largest for p in parts if p.largest is not None]
    return Difference(
        value=_centre(parts, shares),
        low=low,
        high=high,
        confidence=confidence,
        n=sum(p.n for p in parts),
        n_clusters=sum(p.n_clusters for p in parts),
        route="mean of tasks",
        stderr=math.hypot(*(w * e for w, e in zip(shares, known, strict=True))) if len(known) == len(parts) else None,
        gained=sum(p.gained or 0 for p in parts) if counted else None,
        lost=sum(p.lost or 0 for p in parts) if counted else None,
        parts=tuple(parts),
        weights=shares,
        largest=sum(w * b for w, b in zip(shares, bounds, strict=True)) if len(bounds) == len(parts) else None,
    )


def _centre(parts: Sequence[Difference], weights: Sequence[float]) -> float:
    return math.fsum(w * p.value for w, p in zip(weights, parts, strict=True))


def _recovered(
    parts: Sequence[Difference], weights: Sequence[float], confidence: float, factor: float = 1.0
) -> tuple[float | None, float | None]:
    below, above = 0.0, 0.0
    for part, weight in zip(parts, weights, strict=True):
        low, high = interval_at(part, confidence, factor)
        if low is None or high is None:
            return None, None
        below += (weight * (part.value - low)) ** 2
        above += (weight * (high - part.value)) ** 2
    centre = _centre(parts, weights)
    return centre - math.sqrt(below), centre + math.sqrt(above)


def interval_at(difference: Difference, confidence: float, factor: float = 1.0) -> tuple[float | None, float | None]:
    """The deciding interval at another confidence, and of `factor` times as many items of the same kinds.

    An unpaired one is scaled as a normal interval's.
    """
    if confidence == difference.confidence and factor == 1.0:
        return difference.low, difference.high
    if difference.parts:
        return _recovered(difference.parts, difference.weights, confidence, factor)
    if difference.route in ("tango and cluster-t", "cluster-t"):
        return _edges(difference, confidence, factor)
    if difference.low is None or difference.high is None:
        return None, None
    ratio = _z(confidence) / _z(difference.confidence) / math.sqrt(factor)
    return (
        difference.value - ratio * (difference.value - difference.low),
        difference.value + ratio * (difference.high - difference.value),
    )


def p_of_loss(difference: Difference, margin: float) -> float | None:
    """The one-sided p-value against H0: the loss is at most `margin`; the largest one where there are several routes.

    It is at most (1 - confidence) / 2 exactly when the interval at `confidence` lies wholly below -margin.
    """
    d = difference
    if d.route not in ("tango and cluster-t", "cluster-t") or (d.stderr == 0 and d.gained is None):
        return _p_at_the_edge(d, margin)
    student = ClusterMean(d.value, d.stderr, d.n, d.n_clusters, d.deff).p_below(-margin)
    if student is None:
        return None
    p_values = [student]
    if d.gained is not None and d.lost is not None:
        p_values.append(tango_p_of_loss(d.gained, d.lost, d.n, margin))
        if (deff := _effective(d)) is not None:
            df = d.n_clusters - 1
            p_values.append(tango_p_of_loss(d.gained / deff, d.lost / deff, d.n / deff, margin, df=df))
    if d.room is not None:
        p_values.append(d.room.p_below(-margin) / 2)
    return max(p_values)


def _p_at_the_edge(difference: Difference, margin: float) -> float | None:
    """The p-value at which the upper edge meets -margin."""
    if difference.high is None:
        return None
    if difference.value >= -margin:
        return 1.0
    least = math.log(1e-12)

    def beyond(log_p: float) -> float:
        _, high = interval_at(difference, 1 - 2 * math.exp(log_p))
        assert high is not None
        return high + margin

    if beyond(least) < 0:
        return math.exp(least)
    return math.exp(float(optimize.brentq(beyond, least, math.log(0.5), xtol=1e-6)))


def _z(confidence: float) -> float:
    return float(stats.norm.ppf(0.5 + confidence / 2))
