"""The table that `llmc eval` prints."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from llmc.report.console import Console

_WIDE = 120
_MOSTLY = 0.6
"""From this share of answers on, the one option is what a reader should know of a low score."""


def table(results: Mapping[str, Any], width: int | None = None) -> str:
    """A line a metric: value, 95 % interval, items; then what was wrong with answers, and the dimensions.

    In a narrow terminal a task's name and note have lines of their own, so that no number is cut.
    """
    wide = _columns() if width is None else width
    narrow = wide < _WIDE
    found = Table(box=None, pad_edge=False, header_style="")
    headings = [("task", "left"), ("metric", "left"), ("value", "right"), ("95 % interval", "right"), ("n", "right")]
    for heading, justify in headings[narrow:]:
        found.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    if not narrow:
        found.add_column("note", overflow="fold")
    lines = []
    for name, task in results["tasks"].items():
        for i, (metric, each) in enumerate(
            sorted(task["metrics"].items(), key=lambda pair: _place(name, task, pair[0]))
        ):
            cells = (metric, shown(each), interval(each), str(each.get("n", 0)))
            lines.append((name if i == 0 else "", cells, note(task) if i == 0 else ""))
    for name, group in results.get("groups", {}).items():
        for i, (metric, each) in enumerate(group["metrics"].items()):
            cells = (metric, shown(each), interval(each), str(each.get("n", 0)))
            lines.append((name if i == 0 else "", cells, f"group of {len(group['tasks'])}" if i == 0 else ""))
    for name, dimension in results.get("dimensions", {}).items():
        lines.append((name, ("score of 100", number(dimension["score"]), "", ""), ""))
    text = io.StringIO()
    console = Console(file=text, width=wide, no_color=True)
    for name, cells, said in lines:
        if narrow:
            if name:
                found.add_row(f"{name}:", "", "", "")
            if said:
                found.add_row(f"  {said}", "", "", "")
            found.add_row(f"  {cells[0]}", *cells[1:])
        else:
            found.add_row(name, *cells, said)
    console.print(found)
    return text.getvalue().rstrip()


def _columns() -> int:
    """The width of the terminal, or of COLUMNS; wide enough for any row where neither is known."""
    from llmc.commands.rendering.progress import table_console

    return max(table_console().width, 40)


def _place(name: str, task: Mapping[str, Any], metric: str) -> tuple[bool, bool]:
    """The metric that the task is called after comes first (a perplexity before its nats), then the primary one."""
    return metric != name.rpartition("/")[2], metric != task["primary"]


def number(value: float | None) -> str:
    """Four significant digits; a dash for what is undefined."""
    return "–" if value is None else f"{value:.4g}"


def shown(each: Mapping[str, Any]) -> str:
    """A metric's value: a share in percent, as in every report, anything else as it is."""
    return _in_unit(each["value"], each)


def interval(each: Mapping[str, Any]) -> str:
    """Both edges of a metric's interval, or nothing."""
    edges = each.get("ci95")
    return "" if edges is None else f"{_in_unit(edges[0], each).removesuffix(' %')} to {_in_unit(edges[1], each)}"


def _in_unit(value: float | None, each: Mapping[str, Any]) -> str:
    share = list(each.get("range") or ()) in ([0.0, 1.0], [-1.0, 1.0])
    return f"{100 * value:.1f} %" if share and value is not None else number(value)


def note(task: Mapping[str, Any]) -> str:
    """What a reader must know before the number: a collapse, a score at its floor, and the shares of broken answers."""
    said = ["COLLAPSED"] if task.get("collapsed") else []
    said += [floor] if (floor := at_floor(task)) else []
    for flag in ("empty", "unparsed", "repetitive", "truncated", "overflowed", "refused"):
        share = task.get("panel", {}).get(flag)
        if share:
            said.append(f"{flag} {share:.0%}")
    return ", ".join(said)


def _cause(options: Mapping[str, float]) -> str:
    """What puts a score below guessing: one option nearly always chosen, where the golds are others; or a fault."""
    name, share = max(options.items(), key=lambda each: each[1], default=("", 0.0))
    return f"mostly option {name} ({share:.0%})" if share >= _MOSTLY else "reversed or broken"


def at_floor(task: Mapping[str, Any]) -> str | None:
    """Words for a score that shows no ability: not above guessing, below it, or no free answer right; else None.

    The interval decides for choices. A trust task's score is of no probability; its channel by likelihood is looked at.
    """
    metrics = task["metrics"]
    for each in (metrics.get(task["primary"]), metrics.get("acc_choice")):
        if each is None or each.get("direction", "higher") != "higher" or each["value"] is None:
            continue
        chance, edges = each.get("chance"), each.get("ci95")
        if chance is not None and edges is not None:
            if edges[1] < chance:
                return f"below chance ({chance:.0%}): {_cause(task.get('options') or {})}"
            return f"at chance ({chance:.0%})" if edges[0] <= chance else None
        if each.get("kind") == "proportion" and each["value"] == 0:
            return "nothing right"
    return None
