"""Numbers of models that took turns: the median and range of one, and of the ratio of two turn by turn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of several turns, the least and the most."""

    median: float
    least: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one turn."""
    return Spread(statistics.median(values), min(values), max(values))


def ratio_by_turn(values: Sequence[float], first: Sequence[float]) -> Spread:
    """The spread of values / first, turn by turn; as many of each, above 0.

    Models that take turns drift together, and so their ratio within a turn doesn't; a ratio of two medians would take
    both from different turns.
    """
    return spread([a / b for a, b in zip(values, first, strict=True)])
