"""Verdicts and differences in fixed English sentences. Decides nothing: it reads a verdict and says it."""

from __future__ import annotations

from collections.abc import Callable

from llmc.evaluate.paired import Difference
from llmc.evaluate.verdict import CODES, Code, Evidence, Limits, Verdict, Why

SIGNS: dict[Code, str] = {
    "kept": "●",
    "gained": "▲",
    "lost": "▼",
    "undecided": "◇",
    "collapsed": "✕",
    "not-compared": "–",
}
WORDS: dict[Code, str] = {code: code.replace("-", " ") for code in CODES}
MINUS = "−"
_OUT_OF_REACH = 50
"""More than this many times the items at hand is no advice."""


def plain(name: str) -> str:
    """A task's or dimension's name for people: `trust/out_of_distribution` is `out of distribution`."""
    return name.rpartition("/")[2].replace("_", " ")


def number(value: float, decimals: int = 1, *, signed: bool = True) -> str:
    """`value` with a true minus sign, and a plus sign where it is above 0; a rounded 0 has none."""
    text = f"{abs(value):,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def decimals_for(edges: list[float], limits: list[float]) -> int:
    """Decimals that keep the edges on their side of the limits when rounded: 1, or 2 within 0.1 of one, 4 at most."""
    distances = [abs(edge - limit) for edge in edges for limit in limits]
    if not distances or min(distances) > 0.1:
        return 1
    for decimals in (2, 3):
        if not any(round(e, decimals) == round(m, decimals) and e != m for e in edges for m in limits):
            return decimals
    return 4


def estimate(d: Difference, margin: float | None, unit: str = "points") -> str:
    """`−0.3 (−1.0 to +0.3)` in points, another unit named; without edges where there are none."""
    named = "" if unit == "points" else f" {unit}"
    if d.shown is None:
        return f"{number(100 * d.value)}{named} (no interval)"
    places = _places(d, margin)
    return f"{number(100 * d.value, places)}{named} ({_edges(d, places)})"


def points(margin: float, unit: str = "points") -> str:
    """`1.0 point` or `2.0 points`; up to two decimals where they carry something."""
    shown = 100 * margin
    text = number(shown, 1 if abs(shown - round(shown, 1)) < 0.005 else 2, signed=False)
    if unit != "points":
        return f"{text} {unit}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def counts(d: Difference) -> str:
    """`14 lost, 9 gained of 1,531.`, or the number of items where marks are graded."""
    if d.gained is None or d.lost is None:
        return f"{d.n:,} items."
    return f"{d.lost:,} lost, {d.gained:,} gained of {d.n:,}."


def sentence(row: Evidence, verdict: Verdict, limits: Limits, unit: str = "points") -> str:
    """The one sentence on a row. Never "significant", "safe" or "no change"; no p-value."""
    return _SAY[verdict.code](row, verdict, limits, unit)


def settles(verdict: Verdict, n: int) -> str:
    """How many items would settle it, as a sentence; empty where that is not known."""
    if verdict.needed is None:
        return ""
    if verdict.needed > _OUT_OF_REACH * n:
        return " The change lies too near the tolerance for more items to settle it."
    return f" About {rounded(verdict.needed):,} items would settle it if the true change is the observed one."


def rounded(n: int) -> int:
    """`n` to two digits, upwards: 2571 items is not known to the item."""
    size: int = 10 ** max(len(str(n)) - 2, 0)
    return -(-n // size) * size


def _places(d: Difference, margin: float | None) -> int:
    edges = [100 * e for e in d.shown or ()]
    return decimals_for(edges, [0.0] if margin is None else [0.0, -100 * margin])


def _edges(d: Difference, places: int) -> str:
    assert d.shown is not None
    return " to ".join(number(100 * edge, places) for edge in d.shown)


def _kept(row: Evidence, verdict: Verdict, limits: Limits, unit: str) -> str:
    d, margin = row.difference, row.margin
    assert d is not None and margin is not None
    places = _places(d, margin)
    value, inner = number(100 * d.value, places), _edges(d, places)
    if unit != "points":
        value += f" {unit}"
    if verdict.why == "measurably lower":
        return f"Kept, but measurably lower: {value} ({inner}); inside the {points(margin, unit)} allowed. {counts(d)}"
    if verdict.why == "through silence":
        return f"Kept: {value} ({inner}), through {row.silence or 'more refusals'}. {counts(d)}"
    allowed = f"a loss of more than {points(margin, unit)} is ruled out"
    share = f"{100 * d.confidence:g} % interval"
    return f"Kept. {row.name} {value} ({share} {inner}); {allowed}. {counts(d)}"


def _gained(row: Evidence, verdict: Verdict, limits: Limits, unit: str) -> str:
    assert row.difference is not None
    return f"Gained: {estimate(row.difference, row.margin, unit)}. {counts(row.difference)}"


def _lost(row: Evidence, verdict: Verdict, limits: Limits, unit: str) -> str:
    d = row.difference
    assert d is not None and row.margin is not None
    allowed = f"the loss is larger than the {points(row.margin, unit)} allowed"
    return f"Lost. {estimate(d, row.margin, unit)}; {allowed}. {counts(d)}"


def _undecided(row: Evidence, verdict: Verdict, limits: Limits, unit: str) -> str:
    d, margin = row.difference, row.margin
    assert d is not None
    found = estimate(d, margin, unit)
    if verdict.why == "neither" and margin is not None:
        if d.gained == 0 and d.lost == 0 and d.low is not None and d.high is not None:
            return f"Undecided. No flips in {d.n:,} items still allow {_edges(d, _places(d, margin))}."
        beyond = f"a loss beyond {points(margin, unit)} is neither shown nor ruled out"
        return f"Undecided. {found}: {beyond}.{settles(verdict, d.n)} {counts(d)}"
    return f"Undecided. {found}: {too_little(row, verdict, limits)}. {counts(d)}"


def too_little(row: Evidence, verdict: Verdict, limits: Limits) -> str | None:
    """Why a row is undecided whatever its interval says, as a clause; None for every other verdict."""
    d = row.difference
    if verdict.code != "undecided" or d is None:
        return None
    minimum = limits.min_items if row.min_items is None else row.min_items
    reasons: dict[Why, str] = {
        "too few items": f"under the {minimum:,} items asked for",
        "too few clusters": f"too few independent groups of items: {d.n_clusters:,} of {limits.min_clusters:,}",
        "no interval": "its uncertainty is not known",
        "after Holm": "it looks lost alone, but not when all rows of this rule are counted as tries",
        "collapsed elsewhere": f"the model collapsed on {row.collapsed_elsewhere}, so this is no evidence",
        "at chance": "dense itself is not shown to be better than chance, so there is nothing to lose",
        "below chance": "dense itself is shown to be below chance: its marks are reversed, or it is broken",
        "no margin": "no loss small enough to allow can be named",
    }
    return reasons.get(verdict.why)


def _collapsed(row: Evidence, verdict: Verdict, limits: Limits, unit: str) -> str:
    return f"Collapsed. {row.collapse}. Its other scores are no evidence of safety."


def _not_compared(row: Evidence, verdict: Verdict, limits: Limits, unit: str) -> str:
    return f"Not compared: {row.not_compared or 'nothing to compare'}."


_SAY: dict[Code, Callable[[Evidence, Verdict, Limits, str], str]] = {
    "kept": _kept,
    "gained": _gained,
    "lost": _lost,
    "undecided": _undecided,
    "collapsed": _collapsed,
    "not-compared": _not_compared,
}
