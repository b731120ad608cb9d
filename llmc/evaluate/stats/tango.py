"""Tango's score interval for the difference of two proportions measured on the same items."""

from __future__ import annotations

import math

from scipy import stats

from llmc.errors import UserError

_HALVINGS = 60


def tango_statistic(gained: float, lost: float, n: float, theta: float) -> float:
    """The score statistic of H0: difference = `theta`; standard normal under H0, and falling in `theta`.

    Range: `theta` in [-1, 1]. The variance is that of the most likely table whose difference is `theta`, so it is
    not 0 when nothing flipped. Infinite where `theta` is impossible, as -1 is when one item did not get lost.
    Counts need not be whole: an effective sample is a fraction of the real one.
    Source: Tango 1998 (Statistics in Medicine 17:891), eq. 4 and 5.
    """
    if min(gained, lost) < 0 or n <= 0 or gained + lost > n * (1 + 1e-9):
        raise UserError(f"{gained} gained and {lost} lost of {n} items is no paired table")
    surplus = gained - lost - n * theta
    linear = -gained - lost + (2 * n - gained + lost) * theta
    constant = -lost * theta * (1 - theta)
    share_lost = (math.sqrt(max(linear * linear - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * share_lost + theta * (1 - theta))
    if variance <= 1e-12 * n:
        return 0.0 if abs(surplus) <= 1e-9 * n else math.copysign(math.inf, surplus)
    return surplus / math.sqrt(variance)


def tango_interval(
    gained: float, lost: float, n: float, confidence: float = 0.95, *, df: float | None = None
) -> tuple[float, float]:
    """Both edges of the two-sided interval of (gained - lost) / n; never of width 0.

    Edges solve `tango_statistic` = +q and -q, with the quantile q of the normal distribution, or of Student's with
    `df` degrees of freedom. Without flips and n = 200 they are -1.9 and +1.9 points.
    Source: Tango 1998, section 3.
    """
    tango_statistic(gained, lost, n, 0.0)
    tail = 0.5 + confidence / 2
    q = float(stats.norm.ppf(tail) if df is None else stats.t.ppf(tail, df))
    observed = (gained - lost) / n
    return _solve(gained, lost, n, (-1.0, observed), q), _solve(gained, lost, n, (observed, 1.0), -q)


def tango_p_of_loss(gained: float, lost: float, n: float, margin: float, *, df: float | None = None) -> float:
    """The one-sided p-value against H0: the loss is at most `margin` (in [0, 1]); small when it is larger."""
    statistic = tango_statistic(gained, lost, n, -margin)
    return float(stats.norm.cdf(statistic) if df is None else stats.t.cdf(statistic, df))


def _solve(gained: float, lost: float, n: float, bracket: tuple[float, float], target: float) -> float:
    low, high = bracket
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if tango_statistic(gained, lost, n, middle) > target:
            low = middle
        else:
            high = middle
    return (low + high) / 2
