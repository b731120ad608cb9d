"""Units that people read a change in: points of a share, percent of dense, and the ratio of two perplexities."""

from __future__ import annotations

import math
from typing import Literal

Unit = Literal["points", "% of dense", "× dense"]
"""`points`: hundredths of a share, above 0 is better. `% of dense`: hundredths of dense's value, above 0 is better.
`× dense`: compressed over dense, of a perplexity, so below 1 is better."""
RATIO: Unit = "× dense"
_MOST = 700.0
"""exp of more is no float."""


def shown(value: float, unit: Unit | str) -> float:
    """A difference as it is shown: a share (or part of dense) in hundredths, nats gained as a ratio of perplexities.

    A difference in nats is turned so that above 0 is better, as every other: `0.0` is 1 ×, `-0.0488` is 1.05 ×.
    """
    return math.exp(min(-value, _MOST)) if unit == RATIO else 100 * value


def shown_edges(low: float | None, high: float | None, unit: Unit | str) -> tuple[float | None, float | None]:
    """Both edges as they are shown, the smaller number first."""
    if low is None or high is None:
        return None, None
    first, last = shown(low, unit), shown(high, unit)
    return (last, first) if unit == RATIO else (first, last)


def margin_in(margin: float, unit: Unit | str) -> float:
    """A loss allowed, given as a part of dense's value, in the unit that differences are kept in: nats of a ratio."""
    return math.log1p(margin) if unit == RATIO else margin


def turned(value: float, unit: Unit | str) -> float:
    """A number as it is shown, turned so that above 0 is better: a ratio becomes percent of dense, 1.05 × being -5."""
    return 100 * (1 - value) if unit == RATIO else value
