"""The verdict on one row: six words, decided here once from counts, clusters and policy, and read by every output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmc.errors import UserError
from llmc.evaluate.collapse import MIN_ITEMS
from llmc.evaluate.stats.holm import holm_stands
from llmc.evaluate.stats.paired import Difference, p_of_loss
from llmc.evaluate.stats.power import items_needed, smallest_detectable

Code = Literal["kept", "gained", "lost", "undecided", "collapsed", "not-compared"]
CODES: tuple[Code, ...] = ("collapsed", "lost", "not-compared", "undecided", "gained", "kept")
"""Worst first: the order of every table."""
Why = Literal[
    "clear", "measurably lower", "through silence", "too few items", "too few clusters", "no interval", "neither",
    "after Holm", "collapsed elsewhere", "at chance", "below chance", "no margin", "collapsed", "not compared",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the policy asks of the evidence before anything may be called kept or lost."""

    min_items: int = MIN_ITEMS
    min_clusters: int = 10
    holm: bool = True

    def __post_init__(self) -> None:
        if self.min_items < 1 or self.min_clusters < 2:
            raise UserError("min_items must be at least 1 and min_clusters at least 2")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a verdict rests on. `margin` and the difference share one unit (a share: 0 to 1)."""

    name: str
    difference: Difference | None
    """None when there is nothing to compare; then `not_compared` or `collapse` says why."""
    margin: float | None = None
    """The loss that is allowed, above 0; None when the row has no sensible one."""
    not_compared: str | None = None
    collapse: str | None = None
    """Why its answers are no answers, from `collapse_reason`."""
    without_silence: Difference | None = None
    """The difference when gains on items where the compressed model fell silent count as no change."""
    silence: str | None = None
    """What the silence is, as `more refusals`."""
    collapsed_elsewhere: str | None = None
    """A task that the same model collapsed on: then a gain is no evidence."""
    broken_model: bool = False
    """The model collapsed on at least half of its tasks: then nothing it scores is evidence."""
    at_chance: bool = False
    """Dense itself isn't shown to be above chance, so there is nothing that could be lost."""
    below_chance: bool = False
    """Dense itself is shown to be below chance, which guessing isn't: its marks are reversed, or it is broken."""
    min_items: int | None = None
    """Overrides the limit for this row."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One of six words, why, and what would settle it."""

    code: Code
    why: Why
    p_loss: float | None = None
    """One-sided p-value of "the loss is larger than allowed"; only where the interval says so."""
    detectable: float | None = None
    """The smallest change that this many items show with a chance of 80 %."""
    needed: int | None = None
    """Items in all that would settle it if the true change is the observed one; only where undecided."""


def settle(rows: Sequence[Evidence], limits: Limits) -> list[Verdict]:
    """A verdict for each row of one rule.

    `lost` is claimed of any of the rows, so its p-values go through Holm at the interval's own one-sided level
    (2.5 %); a row that does not stand becomes undecided. `kept` is asked of all rows and needs no correction.
    Source: Berger 1982 (intersection-union); Holm 1979.
    """
    verdicts = [decide(row, limits) for row in rows]
    if not limits.holm:
        return verdicts
    confidences = {row.difference.confidence for row in rows if row.difference is not None}
    if not confidences:
        return verdicts
    alpha = (1 - min(confidences)) / 2
    tried = [i for i, row in enumerate(rows) if row.difference is not None and row.margin is not None]
    stands = dict(zip(tried, holm_stands([verdicts[i].p_loss for i in tried], alpha), strict=True))
    return [
        replace(verdict, code="undecided", why="after Holm", needed=_needed(rows[i]))
        if verdict.code == "lost" and not stands.get(i, False)
        else verdict
        for i, verdict in enumerate(verdicts)
    ]


def decide(row: Evidence, limits: Limits) -> Verdict:
    """The verdict on one row alone, before other rows of its rule are looked at.

    Order: what was not compared and what collapsed; what is too little to say anything; then lost when the whole
    interval lies below -margin, gained when it lies above 0, kept when it lies above -margin, else undecided.
    Source: report.md sections 3, 5 and 6.
    """
    d = row.difference
    if row.not_compared is not None:
        return Verdict(code="not-compared", why="not compared")
    if row.collapse is not None:
        return Verdict(code="collapsed", why="collapsed")
    if d is None:
        return Verdict(code="not-compared", why="not compared")
    detectable = smallest_detectable(d)
    if (too_little := _too_little(row, d, limits)) is not None:
        return Verdict(code="undecided", why=too_little, detectable=detectable)
    code, why = _place(row, d)
    return Verdict(
        code=code,
        why=why,
        p_loss=p_of_loss(d, row.margin) if code == "lost" and row.margin is not None else None,
        detectable=detectable,
        needed=_needed(row) if why == "neither" else None,
    )


def decide_limit(low: float | None, high: float | None, limit: float) -> Verdict:
    """The verdict on a rate that must not exceed `limit`: kept when the whole interval stays at or below it."""
    if low is None or high is None:
        return Verdict(code="undecided", why="too few items")
    if high <= limit:
        return Verdict(code="kept", why="clear")
    return Verdict(code="lost", why="clear") if low > limit else Verdict(code="undecided", why="neither")


def _too_little(row: Evidence, d: Difference, limits: Limits) -> Why | None:
    if d.n < (limits.min_items if row.min_items is None else row.min_items):
        return "too few items"
    if d.n_clusters < limits.min_clusters:
        return "too few clusters"
    if d.low is None or d.high is None:
        return "no interval"
    if row.below_chance:
        return "below chance"
    if row.at_chance:
        return "at chance"
    if row.margin is None or row.margin <= 0:
        return "no margin"
    return None


def _place(row: Evidence, d: Difference) -> tuple[Code, Why]:
    assert d.low is not None and d.high is not None and row.margin is not None
    if d.high < -row.margin:
        return "lost", "clear"
    if d.low <= -row.margin:
        return "undecided", "neither"
    if row.broken_model or (d.low > 0 and row.collapsed_elsewhere is not None):
        return "undecided", "collapsed elsewhere"
    if d.low > 0:
        if _silence_explains(row):
            return "kept", "through silence"
        return "gained", "clear"
    return "kept", "measurably lower" if d.high < 0 else "clear"


def _silence_explains(row: Evidence) -> bool:
    """Whether the gain is gone once items that fell silent count as unchanged."""
    quiet = row.without_silence
    return quiet is not None and (quiet.low is None or quiet.low <= 0)


def _needed(row: Evidence) -> int | None:
    if row.difference is None or row.margin is None:
        return None
    return items_needed(row.difference, row.margin)
