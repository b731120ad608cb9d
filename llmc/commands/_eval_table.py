"""The table that `llmc eval` prints."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def table(results: Mapping[str, Any]) -> str:
    """A line a metric: value, 95 % interval, items; then what was wrong with answers, and the dimensions."""
    found = Table(box=None, pad_edge=False, header_style="")
    for heading, justify in (("task", "left"), ("metric", "left"), ("value", "right"), ("95 % interval", "right")):
        found.add_column(heading, justify=justify)  # type: ignore[arg-type]
    found.add_column("n", justify="right")
    found.add_column("note")
    for name, task in results["tasks"].items():
        ordered = sorted(task["metrics"].items(), key=lambda pair: pair[0] != task["primary"])
        for i, (metric, each) in enumerate(ordered):
            cells = (name if i == 0 else "", metric, number(each["value"]), interval(each["ci95"]), str(each["n"]))
            found.add_row(*cells, note(task) if i == 0 else "")
    for name, group in results.get("groups", {}).items():
        for i, (metric, each) in enumerate(group["metrics"].items()):
            cells = (name if i == 0 else "", metric, number(each["value"]), interval(each["ci95"]), str(each["n"]))
            found.add_row(*cells, f"group of {len(group['tasks'])}" if i == 0 else "")
    for name, dimension in results.get("dimensions", {}).items():
        found.add_row(name, "score of 100", number(dimension["score"]), "", "", "")
    text = io.StringIO()
    Console(file=text, width=140, no_color=True).print(found)
    return text.getvalue().rstrip()


def number(value: float | None) -> str:
    """Four significant digits; a dash for what is undefined."""
    return "–" if value is None else f"{value:.4g}"


def interval(edges: list[float] | None) -> str:
    """Both edges, or nothing."""
    return "" if edges is None else f"{number(edges[0])} to {number(edges[1])}"


def note(task: Mapping[str, Any]) -> str:
    """What a reader must know before the number: a collapse, a score at its floor, and the shares of broken answers."""
    said = ["COLLAPSED"] if task["collapsed"] else []
    said += [floor] if (floor := at_floor(task)) else []
    for flag in ("empty", "unparsed", "repetitive", "truncated", "overflowed", "refused"):
        share = task["panel"][flag]
        if share:
            said.append(f"{flag} {share:.0%}")
    return ", ".join(said)


def at_floor(task: Mapping[str, Any]) -> str | None:
    """Words for a score that shows no ability: not above guessing, below it, or no free answer right; else None.

    The interval decides for choices. A trust task's score is of no probability; its channel by likelihood is looked at.
    """
    metrics = task["metrics"]
    for each in (metrics.get(task["primary"]), metrics.get("acc_choice")):
        if each is None or each["direction"] != "higher" or each["value"] is None:
            continue
        chance, edges = each.get("chance"), each["ci95"]
        if chance is not None and edges is not None:
            if edges[1] < chance:
                return f"below chance ({chance:.0%}): reversed or broken"
            return f"at chance ({chance:.0%})" if edges[0] <= chance else None
        if each["kind"] == "proportion" and each["value"] == 0:
            return "nothing right"
    return None
