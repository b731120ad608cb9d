"""How small a change this many items could have shown, and how many items a question needs."""

from __future__ import annotations

import functools
import math

from scipy import stats


@functools.cache
def _reach(confidence: float, power: float) -> float:
    """The sum of the two normal quantiles: 2.80 at 95 % confidence and 80 % power."""
    return float(stats.norm.ppf(0.5 + confidence / 2) + stats.norm.ppf(power))


def smallest_detectable(stderr: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """The true change that an interval around an estimate with this error excludes 0 for, with chance `power`.

    For binary items `stderr` = sqrt(flip rate * design effect / n).
    Source: Miller 2024, arXiv:2411.00640, section 5.
    """
    return _reach(confidence, power) * stderr


def items_needed(
    variance: float, margin: float, change: float = 0.0, confidence: float = 0.95, power: float = 0.8
) -> int | None:
    """Items in all that would settle a loss of `margin`, with chance `power`, if the true change is `change`.

    `variance` is one item's, times the design effect: for binary items (flip rate - change^2) * deff.
    None when the change lies on the margin: no number of items settles it.
    Source: report.md section 6; Miller 2024, eq. 9.
    """
    distance = abs(margin + change)
    if distance < 1e-6:
        return None
    return math.ceil(_reach(confidence, power) ** 2 * variance / distance**2)
