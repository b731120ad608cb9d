"""How small a change these items could have shown, and how many a question needs, by the rule that decides."""

from __future__ import annotations

import functools
import math

from scipy import stats

from llmc.evaluate.stats.paired import Difference, interval_at

_MOST = 2.0**30
_CLOSE = 1e-4
"""The part of the items by which an answer may be off: people read two digits of it."""


@functools.cache
def _spare(power: float) -> float:
    """How many errors a change must lie beyond the edge to be found with this chance: 0.84 for 80 %."""
    return float(stats.norm.ppf(power))


def smallest_detectable(difference: Difference, power: float = 0.8) -> float | None:
    """The true change that the deciding interval leaves 0 out for, with chance `power`; None without an interval.

    The distance to the farther edge and 0.84 errors: with a normal interval 2.80 errors, and for binary items an error
    is sqrt(flip rate * design effect / n).
    Source: Miller 2024, arXiv:2411.00640, section 5.
    """
    d = difference
    if d.low is None or d.high is None:
        return None
    return max(d.value - d.low, d.high - d.value) + _spare(power) * (d.stderr or 0.0)


def items_needed(difference: Difference, margin: float, power: float = 0.8) -> int | None:
    """Items in all that would settle a loss of `margin`, with chance `power`, if the true change is the observed one.

    The deciding interval is worked out for more clusters of the kinds that were seen. Where it is a normal one, that is
    7.85 * variance * design effect / (margin + change)^2. None when the change lies on the margin: no number of items
    settles it.
    Source: report.md section 6; Miller 2024, eq. 9.
    """
    d = difference
    if abs(margin + d.value) < 1e-6 or d.low is None:
        return None
    low, high = 1.0 / d.n, 1.0
    while not _settles(d, margin, high, power):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high > low * (1 + _CLOSE):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _settles(d, margin, middle, power) else (middle, high)
    return math.ceil(d.n * high - 1e-6)


def _settles(d: Difference, margin: float, factor: float, power: float) -> bool:
    low, high = interval_at(d, d.confidence, factor)
    if low is None or high is None:
        return False
    edge = d.value - low if d.value > -margin else high - d.value
    return edge + _spare(power) * (d.stderr or 0.0) / math.sqrt(factor) <= abs(margin + d.value)
