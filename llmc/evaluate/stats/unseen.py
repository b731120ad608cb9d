"""Room for changes that a sample may have missed: an edge that holds for any marks between two ends."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import optimize, special

from llmc.evaluate.stats.intervals import Codes, Floats, cluster_sums

_STEPS = 100


@dataclass(frozen=True, eq=False)
class Room:
    """What a sample leaves room for: its clusters and one more, unseen, whose items all moved as far as can be.

    The clusters get random weights (exponential, all alike), and so does the unseen one; an edge is the mean that the
    weighted sample passes with a given chance. Of independent items of 0 or 1 this is Clopper and Pearson's edge.
    How far the clusters seen moved together says nothing of the unseen one: single flips may hide whole clusters that
    are rarely lost.
    Source: Gaffke 2005, "Three test statistics for a nonparametric one-sided hypothesis on the mean of a nonnegative
    variable"; Learned-Miller & Thomas 2019 (arXiv:1905.06208). That the edge holds for any marks between two ends is
    proved for marks of two values and conjectured for all others; no counterexample is known.
    """

    sums: Floats
    """The sum of changes of each kind of cluster. Shape: (kinds,)."""
    sizes: Floats
    counts: Floats
    """How many clusters there are of each kind; fractions stand for samples of another size."""
    reach: float
    """The largest change that one item can make, either way; above 0."""

    @property
    def unseen(self) -> float:
        """Items of the cluster that was not seen: those of the cluster that an item is in, on average; 1 if alone."""
        return float((self.counts * np.square(self.sizes)).sum() / (self.counts * self.sizes).sum())

    def p_above(self, theta: float) -> float:
        """The one-sided p-value against H0: the mean is at most `theta`; small when it is larger."""
        lost = self.unseen * (-self.reach - theta)
        if lost >= 0:  # no mean is that low
            return 0.0
        values = np.append(self.sums - theta * self.sizes, lost)
        return float(below_zero(values, np.append(self.counts, 1.0)))

    def p_below(self, theta: float) -> float:
        """The one-sided p-value against H0: the mean is at least `theta`; small when it is smaller."""
        return replace(self, sums=-self.sums).p_above(-theta)

    def low(self, level: float, at_most: float = math.inf) -> float:
        """The mean of which a smaller one is refused at `level`, a one-sided interval's lower edge; or `at_most`.

        That an edge at `at_most` is low enough already takes a single step to see.
        """
        value = float((self.counts * self.sums).sum() / (self.counts * self.sizes).sum())
        start, least = min(value, at_most), -self.reach * (1 - 1e-9)
        if start <= least or self.p_above(start) <= level:
            return start
        # On the normal scale the p-value is nearly a straight line, which takes few steps.
        wanted = float(special.ndtri(level))
        return float(optimize.brentq(lambda theta: _normal(self.p_above(theta)) - wanted, least, start, xtol=1e-10))

    def high(self, level: float, at_least: float = -math.inf) -> float:
        """The upper edge of a one-sided interval; or `at_least`."""
        return -replace(self, sums=-self.sums).low(level, -at_least)

    def of_more(self, factor: float) -> Room:
        """The room that `factor` times as many clusters of the same kinds leave."""
        return replace(self, counts=self.counts * factor)


def room_of(change: Floats, clusters: Codes, reach: float | None) -> Room | None:
    """The room that a sample of changes leaves; None where nothing moved and nobody knows how far an item can.

    Shapes: (n,), clusters coded 0..G-1. Without `reach`, as on an open scale, the farthest change seen stands for it;
    then nothing is promised of items that go farther.
    """
    seen = float(np.abs(change).max(initial=0.0))
    farthest = max(seen, reach or 0.0)
    if farthest == 0.0:
        return None
    sums, sizes = cluster_sums(change, clusters), np.bincount(clusters).astype(np.float64)
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    return Room(kinds[0], kinds[1], counts.astype(np.float64), farthest)


def below_zero(values: Floats, counts: Floats | float = 1.0) -> Floats:
    """The chance that a sum of `values`, each times a random weight, is at most 0. Shapes: (..., k) to (...).

    Weights are gamma-distributed with shape `counts` (exponential for 1). Some value must be below 0 and some above.
    Saddlepoint approximation, within 3 % of the exact chance and above it where one value rules the sum.
    Source: Lugannani & Rice 1980 (Advances in Applied Probability 12:475).
    """
    low = (1 - 1e-10) / np.minimum(values.min(axis=-1), -1e-300)
    high = (1 - 1e-10) / np.maximum(values.max(axis=-1), 1e-300)
    at = np.zeros(values.shape[:-1])
    for _ in range(_STEPS):
        parts = values / (1 - values * at[..., None])
        slope = (counts * parts).sum(axis=-1)
        low, high = np.where(slope < 0, at, low), np.where(slope > 0, at, high)
        step = at - slope / (counts * parts * parts).sum(axis=-1)
        step = np.where((step <= low) | (step >= high), (low + high) / 2, step)
        done = np.abs(step - at) <= 1e-10 * np.abs(step)
        at = step
        if done.all():
            break
    shrunk = 1 - values * at[..., None]
    height = (counts * np.log(shrunk)).sum(axis=-1)
    width = at * np.sqrt((counts * np.square(values / shrunk)).sum(axis=-1))
    root = np.sign(at) * np.sqrt(np.maximum(2 * height, 0.0))
    root, width = (np.where(np.abs(each) < 1e-6, 1e-6, each) for each in (root, width))
    density = np.exp(-np.square(root) / 2) / math.sqrt(2 * math.pi)
    found: Floats = special.ndtr(root) + density * (1 / root - 1 / width)
    return found


def _normal(p: float) -> float:
    return float(special.ndtri(min(max(p, 1e-300), 1 - 1e-16)))
