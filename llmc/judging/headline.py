"""The answer in one sentence: of a run, of a gate, and which run to take. Reads verdicts and decides none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from llmc.evaluate.stats.units import RATIO, turned
from llmc.evaluate.stats.wording import ORDER, Word, bare, plain, rounded, said
from llmc.judging.comparison import Row, RunComparison
from llmc.judging.rows import worst_first


def overall(rows: Sequence[Row]) -> Word:
    """The word of all checks together: the worst of those that the policy neither passes nor waives."""
    left = {row.word for row in rows if row.outcome not in ("pass", "waived")}
    return next((word for word in ORDER if word in left), "PASS")


def counts(rows: Sequence[Row]) -> dict[Word, int]:
    """How many checks have each word, worst first."""
    counted = Counter(row.word for row in rows)
    return {word: counted[word] for word in ORDER}


def tally(rows: Sequence[Row]) -> str:
    """The same counts in words for every output: `0 of 7 confirmed, 6 UNDECIDED (30 of 100 items), 1 FAIL`.

    Confirmed are the checks that are PASS. Those that the policy excuses keep their word and are said to be excused.
    """
    if not rows:
        return "nothing was compared"
    counted = counts(rows)
    told = [f"{counted['PASS']} of {len(rows)} confirmed"]
    for word in ORDER:
        if word != "PASS" and counted[word]:
            told.append(f"{counted[word]} {word}{_aside([row for row in rows if row.word == word])}")
    return ", ".join(told)


def _aside(rows: Sequence[Row]) -> str:
    """What must be known beside a count: too few items, and what the policy lets pass."""
    few = [row for row in rows if row.why == "too few items" and row.change is not None and row.min_items]
    parts = []
    if few:
        have = sorted({row.change.n for row in few if row.change is not None})
        asked = sorted({row.min_items or 0 for row in few})
        span = f"{_span(have)} of {_span(asked)} items"
        parts.append(span if len(few) == len(rows) else f"{len(few)} with {span}")
    for outcome, words in (("waived", "waived"), ("pass", "passed by the policy")):
        if n := sum(row.outcome == outcome for row in rows):
            parts.append(words if n == len(rows) else f"{n} {words}")
    return f" ({'; '.join(parts)})" if parts else ""


def _span(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def run_headline(label: str, rows: Sequence[Row], size_ratio: float | None) -> str:
    """`GPTQ 4-bit: FAIL: 20 of 21 confirmed, 1 FAIL. FAIL: fairness −6.1 points …; 3.6 × smaller on disk.`"""
    size = "" if size_ratio is None else f" {_first_upper(size_words(size_ratio))}."
    return f"{label}: {_told(rows)}{size}"


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _told(rows: Sequence[Row]) -> str:
    """The word in all, the counts, and for each word that stands in the way up to three checks."""
    text = f"{overall(rows)}: {tally(rows)}."
    for word in ORDER:
        found = [r for r in worst_first(rows) if r.word == word and r.outcome not in ("pass", "waived")]
        if word != "PASS" and found:
            # A dimension of one task and that task are two checks of one thing: named once, counted twice.
            whole = {tuple(r.tasks) for r in found if r.level == "dimension"}
            named = [r for r in found if r.level != "task" or tuple(r.tasks) not in whole]
            shown = [_reason(r) for r in named[:3]]
            more = f" and {len(named) - 3} more" if len(named) > 3 else ""
            text += f" {word}: {'; '.join(shown)}{more}."
    waived = list(dict.fromkeys(r.name for r in rows if r.outcome == "waived"))
    return text + (f" Waived: {_listed(waived)}." if waived else "")


def _reason(row: Row) -> str:
    """A check with what is worth knowing of it in a line: how much was lost, or how much more would settle it."""
    if (row.word == "FAIL" and row.change is not None) or points_to_loss(row):
        return _with_change(row)
    return _needing(row) if row.word == "UNDECIDED" else plain(row.name)


def size_words(ratio: float) -> str:
    """`3.6 × smaller on disk`, as measured."""
    if 0.95 < ratio < 1.05:
        return f"about as large on disk as dense ({ratio:.2f} ×)"
    return f"{1 / ratio:.1f} × smaller on disk" if ratio < 1 else f"{ratio:.2f} × as large on disk"


def gate_banner(rows: Sequence[Row], size_ratio: float | None, speed_ratio: float | None) -> str:
    """`FAIL: 7 of 10 confirmed, 1 FAIL, 2 UNDECIDED. FAIL: closed book −3.1 points …. Size 0.27 of dense.`"""
    text = _told(rows)
    if size_ratio is not None:
        text += f" Size {size_ratio:.2f} of dense" + ("." if speed_ratio is None else f", speed {speed_ratio:.2f}×.")
    return text


def recommendation(runs: Sequence[RunComparison]) -> str:
    """Which run to take: the smallest of those that pass, else what stands in the way of the nearest."""
    if not runs:
        return "Nothing was compared."
    best = min(runs, key=preference)
    if not best.rules:
        return "Nothing was compared."
    size = None if best.size_ratio is None else size_words(best.size_ratio)
    good = sum(run.word == "PASS" for run in runs)
    if good:
        among = f", the smallest of {good} runs that pass" if good > 1 and size is not None else ""
        cost = "its size is not known" if size is None else size
        return f"Take {best.facts.label}: PASS: {best.tally}{among}; {cost}."
    lack = f"{best.facts.label}: {best.word}: {best.tally}" + ("" if size is None else f"; {size}")
    none = f"None of the {len(runs)} runs is a PASS."
    if len(runs) == 1:
        return f"{lack}."
    if best.word == "UNDECIDED":
        likely = [_with_change(row) for row in worst_first(best.rules) if points_to_loss(row)]
        told = f"A loss is likely there, and not confirmed: {_listed(likely)}." if likely else "No loss is shown there."
        return f"Nearest is {lack}. {told} {none}"
    return f"{none} Nearest is {lack}."


def points_to_loss(row: Row) -> bool:
    """Whether an undecided check found more than the loss allowed, and its whole interval is a loss.

    Too few items, or too many doubts, to call it FAIL; and no ground for saying that nothing is lost.
    """
    change, tolerance = row.change, row.tolerance
    if row.word != "UNDECIDED" or change is None or change.low is None or change.high is None or tolerance is None:
        return False
    edges = (turned(change.low, row.unit), turned(change.high, row.unit))
    beyond = change.value > tolerance if row.unit == RATIO else change.value < -tolerance
    return beyond and max(edges) < 0


def preference(run: RunComparison) -> tuple[bool, tuple[int, ...], int, float, str]:
    """What runs are sorted by, the first to be taken: passes, then the fewest bad verdicts, likely losses, bytes."""
    good = run.word == "PASS" and bool(run.rules)
    distance = () if good else tuple(run.counts[word] for word in ORDER if word != "PASS")
    likely = 0 if good else sum(points_to_loss(row) for row in run.rules)
    return not good, distance, likely, math.inf if run.size_ratio is None else run.size_ratio, run.facts.label


def _with_change(row: Row) -> str:
    """`fairness −6.1 points [−9.0, −3.2]`; a limit or budget as it was found."""
    change = row.change
    if change is None or change.low is None or change.high is None:
        return plain(row.name)
    edges = f"[{bare(change.low, row.unit)}, {bare(change.high, row.unit)}]"
    unit = " points" if row.unit == "points" else ""
    return f"{plain(row.name)} {said(change.value, row.unit)}{unit} {edges}"


def _needing(row: Row) -> str:
    name, change = plain(row.name), row.change
    if change is None or change.needed is None:
        return name
    if change.needed > 50 * change.n:
        return f"{name} (too near the tolerance)"
    return f"{name} (about {rounded(max(change.needed - change.n, 1)):,} more items)"


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = list(names[:most])
    more = len(names) - len(shown)
    if more:
        shown.append(f"{more} more")
    if len(shown) == 1:
        return shown[0]
    joint = "; " if any("," in name for name in shown) else ", "
    return joint.join(shown[:-1]) + " and " + shown[-1]
