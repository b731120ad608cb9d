"""Verdicts and differences in fixed English sentences. Decides nothing: it reads a verdict and says it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from llmc.evaluate.stats.paired import Difference
from llmc.evaluate.stats.units import RATIO, Unit, shown, shown_edges
from llmc.evaluate.stats.verdict import Code, Evidence, Limits, Verdict, Why

Word = Literal["COLLAPSED", "FAIL", "NOT COMPARED", "UNDECIDED", "PASS"]
"""What people read of a check, worst first; the same five words everywhere."""
ORDER: tuple[Word, ...] = get_args(Word)

SIGNS: dict[Code, str] = {
    "kept": "●",
    "gained": "▲",
    "lost": "▼",
    "undecided": "◇",
    "collapsed": "✕",
    "not-compared": "–",
}
WORDS: dict[Code, Word] = {
    "kept": "PASS",
    "gained": "PASS",
    "lost": "FAIL",
    "undecided": "UNDECIDED",
    "collapsed": "COLLAPSED",
    "not-compared": "NOT COMPARED",
}
"""The word of a verdict on a loss. A check that asks for more than no loss may have another: see `word_of`."""
CODE_OF: dict[Word, Code] = {WORDS[code]: code for code in WORDS if code != "gained"}
"""The verdict whose sign and colour stand for a word."""
MINUS = "−"
_OUT_OF_REACH = 50
"""More than this many times the items at hand is no advice."""


def word_of(code: Code, passing: frozenset[Code], *, lower: bool) -> Word:
    """The word of a check that passes with the verdicts `passing`. `lower`: the whole interval is at or below 0.

    `superior` asks for a gain: a model that is merely not worse is undecided there, and one that is lower fails.
    """
    if code in ("kept", "gained") and code not in passing:
        return "FAIL" if lower else "UNDECIDED"
    return WORDS[code]


def sign_of(code: Code, word: Word | None) -> str:
    """The sign beside a word: the verdict's own where they agree, so that a gain can be told from no loss."""
    return SIGNS[code] if word is None or WORDS[code] == word else SIGNS[CODE_OF[word]]


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


def estimate(d: Difference, margin: float | None, unit: Unit | str = "points") -> str:
    """`−0.3 (−1.0 to +0.3)` in points, another unit named; `1.09 × dense (1.08 to 1.10)`; no edges where none are."""
    value = said(shown(d.value, unit), unit, _places(d, margin, unit))
    return f"{value} (no interval)" if d.shown is None else f"{value} ({_edges(d, _places(d, margin, unit), unit)})"


def said(value: float, unit: Unit | str, decimals: int | None = None) -> str:
    """A number in its unit: `−0.3`, `−0.3 % of dense`, `1.09 × dense`."""
    text = bare(value, unit, decimals)
    return text if unit == "points" else f"{text} {unit}"


def bare(value: float, unit: Unit | str, decimals: int | None = None) -> str:
    """A number without its unit: changes have a sign and one decimal, ratios two and none."""
    if unit == RATIO:
        return number(value, 2 if decimals is None else decimals, signed=False)
    return number(value, 1 if decimals is None else decimals)


def points(margin: float, unit: Unit | str = "points") -> str:
    """`1.0 point` or `2.0 points`; up to two decimals where they carry something; `1.05 × dense` of a perplexity."""
    if unit == RATIO:
        return f"{number(shown(-margin, unit), 2, signed=False)} {unit}"
    most = 100 * margin
    text = number(most, 1 if abs(most - round(most, 1)) < 0.005 else 2, signed=False)
    if unit != "points":
        return f"{text} {unit}"
    return f"{text} point" if text == "1.0" else f"{text} points"


def _loss(margin: float, unit: Unit | str) -> str:
    """What is looked for: `a loss of more than 2.0 points`, `a perplexity above 1.05 × dense`."""
    if unit == RATIO:
        return f"a perplexity above {points(margin, unit)}"
    return f"a loss of more than {points(margin, unit)}"


def counts(d: Difference) -> str:
    """`14 lost, 9 gained of 1,531.`, or the number of items where marks are graded."""
    if d.gained is None or d.lost is None:
        return f"{d.n:,} items."
    return f"{d.lost:,} lost, {d.gained:,} gained of {d.n:,}."


def sentence(
    row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str = "points", word: Word | None = None
) -> str:
    """The one sentence on a row, its word first. Never "significant", "safe" or "no change"; no p-value.

    `word`: the check's, where it asks for more than no loss.
    """
    if word is None or word == WORDS[verdict.code] or row.difference is None:
        return WORDS[verdict.code] + _SAY[verdict.code](row, verdict, limits, unit)
    found = estimate(row.difference, row.margin, unit)
    return f"{word}. A gain was asked for and is not shown: {found}. {counts(row.difference)}"


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


def _places(d: Difference, margin: float | None, unit: Unit | str) -> int:
    edges = [shown(e, unit) for e in d.shown or ()]
    limits = [shown(e, unit) for e in ([0.0] if margin is None else [0.0, -margin])]
    if unit == RATIO:
        # A hundredth of dense's perplexity is what a tenth of a point is to a share.
        return max(2, decimals_for([10 * e for e in edges], [10 * e for e in limits]) + 1)
    return decimals_for(edges, limits)


def _edges(d: Difference, places: int, unit: Unit | str) -> str:
    assert d.shown is not None
    return " to ".join(bare(edge, unit, places) for edge in shown_edges(*d.shown, unit) if edge is not None)


def _kept(row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str) -> str:
    d, margin = row.difference, row.margin
    assert d is not None and margin is not None
    if verdict.why == "measurably lower":
        where = f"inside the {points(margin, unit)} allowed"
        return f", but measurably {_worse(unit)}: {estimate(d, margin, unit)}; {where}. {counts(d)}"
    if verdict.why == "through silence":
        return f": {estimate(d, margin, unit)}, through {row.silence or 'more refusals'}. {counts(d)}"
    places = _places(d, margin, unit)
    share = f"{100 * d.confidence:g} % interval"
    found = f"{said(shown(d.value, unit), unit, places)} ({share} {_edges(d, places, unit)})"
    return f". {row.name} {found}; {_loss(margin, unit)} is ruled out. {counts(d)}"


def _worse(unit: Unit | str) -> str:
    return "higher" if unit == RATIO else "lower"


def _gained(row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str) -> str:
    assert row.difference is not None
    return f", and better than dense: {estimate(row.difference, row.margin, unit)}. {counts(row.difference)}"


def _lost(row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str) -> str:
    d = row.difference
    assert d is not None and row.margin is not None
    allowed = f"the loss is larger than the {points(row.margin, unit)} allowed"
    if unit == RATIO:
        allowed = f"that is above the {points(row.margin, unit)} allowed"
    return f". {estimate(d, row.margin, unit)}; {allowed}. {counts(d)}"


def _undecided(row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str) -> str:
    d, margin = row.difference, row.margin
    assert d is not None
    found = estimate(d, margin, unit)
    if verdict.why == "neither" and margin is not None:
        if d.gained == 0 and d.lost == 0 and d.low is not None and d.high is not None:
            return f". No flips in {d.n:,} items still allow {_edges(d, _places(d, margin, unit), unit)}."
        beyond = f"{_loss(margin, unit)} is neither shown nor ruled out"
        return f". {found}: {beyond}.{settles(verdict, d.n)} {counts(d)}"
    return f". {found}: {too_little(row, verdict, limits)}. {counts(d)}"


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


def _collapsed(row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str) -> str:
    return f". {row.collapse}. Its other scores are no evidence of safety."


def _not_compared(row: Evidence, verdict: Verdict, limits: Limits, unit: Unit | str) -> str:
    return f": {row.not_compared or 'nothing to compare'}."


_SAY: dict[Code, Callable[[Evidence, Verdict, Limits, Unit | str], str]] = {
    "kept": _kept,
    "gained": _gained,
    "lost": _lost,
    "undecided": _undecided,
    "collapsed": _collapsed,
    "not-compared": _not_compared,
}
"""What follows the word."""
