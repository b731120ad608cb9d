"""The answer in one sentence: of a run, of a gate, and which run to take. Reads verdicts and decides none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from llmc.evaluate.verdict import CODES
from llmc.evaluate.wording import WORDS, number, plain, rounded
from llmc.report.comparison import Row, RunComparison
from llmc.report.rows import worst_first


def run_headline(label: str, readings: Sequence[Row], size_ratio: float | None) -> str:
    """`GPTQ 4-bit keeps all 5 knowledge tasks and 7 of 8 trust dimensions; it loses fairness, −6.1 points …`."""
    kept = _kept_all(readings)
    rows = [r for r in readings if r.level == "dimension" or (r.level == "task" and r.dimension is None)]
    parts = [f"{label} keeps {kept}" if kept else f"{label}: nothing was compared"]
    for code, verb in (("collapsed", "it collapses on"), ("lost", "it loses")):
        found = [r for r in worst_first(rows) if r.code == code]
        if found:
            told = [_with_change(r) for r in found] if code == "lost" else [plain(r.name) for r in found]
            parts.append(f"{verb} {_listed(told, 2 if code == 'lost' else 4)}")
    for code, words in (("undecided", "undecided"), ("not-compared", "not compared")):
        found = [r for r in worst_first(rows) if r.code == code]
        if found:
            parts.append(f"{words}: {_listed([plain(r.name) for r in found])}")
    if size_ratio is not None:
        parts.append(size_words(size_ratio))
    return "; ".join(parts) + "."


def size_words(ratio: float) -> str:
    """`3.6 × smaller on disk`, as measured."""
    if 0.95 < ratio < 1.05:
        return f"about as large on disk as dense ({ratio:.2f} ×)"
    return f"{1 / ratio:.1f} × smaller on disk" if ratio < 1 else f"{ratio:.2f} × as large on disk"


def gate_banner(rows: Sequence[Row], size_ratio: float | None, speed_ratio: float | None) -> str:
    """`Not yet: 1 lost, 2 undecided, 7 kept of 10 rules. Lost: closed-book. …`: at most three reasons."""
    n = len(rows)
    counted = Counter(row.code for row in rows)
    parts = ", ".join(f"{counted[code]} {WORDS[code]}" for code in CODES if counted[code])
    passed = all(row.outcome in ("pass", "waived") for row in rows)
    text = f"{'Yes' if passed else 'Not yet'}: {parts} of {n} {'check' if n == 1 else 'checks'}."
    for code in ("collapsed", "lost", "not-compared", "undecided"):
        found = [r for r in worst_first(rows) if r.code == code and r.outcome not in ("pass", "waived")]
        if found:
            shown = [_needing(r) for r in found[:3]]
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            text += f" {WORDS[found[0].code].capitalize()}: {', '.join(shown)}{more}."
    waived = [r.name for r in rows if r.outcome == "waived"]
    if waived:
        text += f" Waived: {_listed(waived)}."
    if size_ratio is not None:
        text += f" Size {size_ratio:.2f} of dense" + ("." if speed_ratio is None else f", speed {speed_ratio:.2f}×.")
    return text


def recommendation(runs: Sequence[RunComparison]) -> str:
    """Which run to take: the smallest of those that keep everything, else what stands in the way of the nearest."""
    if not runs:
        return "Nothing was compared."
    best = min(runs, key=preference)
    size = None if best.size_ratio is None else size_words(best.size_ratio)
    good = sum(_keeps_all(run) for run in runs)
    if good:
        among = f", the smallest of {good} runs that do" if good > 1 and size is not None else ""
        cost = "its size is not known" if size is None else size
        return f"Take {best.facts.label}: it keeps {_kept_all(best.readings)}{among}; {cost}."
    rows = [row for row in worst_first(judged(best)) if row.code not in ("kept", "gained")]
    if not rows:
        return "Nothing was compared."
    counted = Counter(row.code for row in rows)
    lack = ", ".join(f"{counted[code]} {WORDS[code]}" for code in CODES if counted[code])
    named = f"{lack} ({_listed([plain(row.name) for row in rows])})" + ("" if size is None else f"; {size}")
    if len(runs) == 1:
        return f"{best.facts.label} does not keep everything that was asked: {named}."
    none = f"None of the {len(runs)} runs keeps everything that was asked."
    if set(counted) == {"undecided"}:
        return f"Nearest is {best.facts.label}: nothing is shown to be lost, but {named}. {none}"
    return f"{none} Nearest is {best.facts.label}: {named}."


def preference(run: RunComparison) -> tuple[bool, tuple[int, ...], float, str]:
    """What runs are sorted by, the one to take first: keeps everything, then the fewest bad verdicts, then size."""
    good = _keeps_all(run)
    distance = () if good else _distance(judged(run))
    return not good, distance, math.inf if run.size_ratio is None else run.size_ratio, run.facts.label


def _keeps_all(run: RunComparison) -> bool:
    rows = judged(run)
    return bool(rows) and all(row.code in ("kept", "gained") for row in rows)


def judged(run: RunComparison) -> list[Row]:
    """The rows that a headline counts: knowledge tasks and trust dimensions."""
    return [r for r in run.readings if r.level == "dimension" or (r.level == "task" and r.dimension is None)]


def _distance(rows: Sequence[Row]) -> tuple[int, ...]:
    counted = Counter(row.code for row in rows)
    return tuple(counted[code] for code in CODES)


def _kept_all(readings: Sequence[Row]) -> str:
    """`all 5 knowledge tasks and 7 of 8 trust dimensions`; empty without rows of either."""
    groups = [
        ("knowledge task", [r for r in readings if r.level == "task" and r.dimension is None]),
        ("trust dimension", [r for r in readings if r.level == "dimension"]),
    ]
    return " and ".join(_kept_words(noun, rows) for noun, rows in groups if rows)


def _kept_words(noun: str, rows: Sequence[Row]) -> str:
    kept, n = sum(r.code in ("kept", "gained") for r in rows), len(rows)
    nouns = noun if n == 1 else f"{noun}s"
    if kept == n:
        return f"the one {noun}" if n == 1 else f"all {n} {nouns}"
    return f"{kept or 'none'} of {n} {nouns}"


def _with_change(row: Row) -> str:
    if row.change is None or row.change.low is None or row.change.high is None:
        return plain(row.name)
    unit = row.unit or "points"
    edges = f"[{number(row.change.low)}, {number(row.change.high)}]"
    return f"{plain(row.name)}, {number(row.change.value)} {unit} {edges}"


def _needing(row: Row) -> str:
    if row.code != "undecided" or row.change is None or row.change.needed is None:
        return row.name
    if row.change.needed > 50 * row.change.n:
        return f"{row.name} (too near the tolerance)"
    return f"{row.name} (about {rounded(max(row.change.needed - row.change.n, 1)):,} more items)"


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = list(names[:most])
    more = len(names) - len(shown)
    if more:
        shown.append(f"{more} more")
    if len(shown) == 1:
        return shown[0]
    joint = "; " if any("," in name for name in shown) else ", "
    return joint.join(shown[:-1]) + " and " + shown[-1]
