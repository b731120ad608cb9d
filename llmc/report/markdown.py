"""The comparison as Markdown for a pull request: worst first, never longer than a comment may be, no model text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmc.evaluate.stats.wording import sign_of
from llmc.harmless import line
from llmc.judging.comparison import Comparison, Flipped, Row, RunComparison
from llmc.judging.flip_text import CHANNELS, option_lines
from llmc.judging.rows import worst_first

MAX_BYTES = 60_000
"""A pull-request comment holds 65,536 characters, and one that is too long is refused whole."""
_MAX_ROWS = 25
_BEGINNING = re.compile(r"^(\d{0,9})([-+=.)])")
"""What makes a list, a heading or a rule of a line."""
_ADDRESS = re.compile(r"@|:(?=//)|\b(?:www|mailto|xmpp)(?=[.:])", re.IGNORECASE)
"""Behind these a space without width keeps a reader from making a mention or a link."""


def gate_markdown(comparison: Comparison) -> str:
    """The gate's summary: banner, one table worst first, size and speed, the method folded away."""
    run = comparison.runs[0]
    name = _cell(comparison.policy.name or run.facts.label)
    lines = [f"**llmc gate: {run.word}** · {run.tally} · {_cost(run)} <!-- llmc-gate:{_marker(name)} -->"]
    lines += ["", _text(run.headline), "", *_rule_table(run.rules, _MAX_ROWS), ""]
    lines += [*_flipped(run), *_folded(comparison, run)]
    return _capped(lines)


def report_markdown(comparison: Comparison) -> str:
    """The whole comparison: the recommendation, one line a run, then each run's table."""
    lines = [f"# {_text(comparison.title)}", ""]
    if len(comparison.runs) > 1:
        lines += ["| Run | What stands in the way | Size | Verdict |", "|---|---|---|---|"]
        for run in comparison.runs:
            label, size = _cell(run.facts.label), _size(run)
            lines.append(f"| {label} | {_cell(run.headline)} | {size} | {run.word}: {run.tally} |")
        lines.append("")
    rows = max(_MAX_ROWS // len(comparison.runs), 8)
    for run in comparison.runs:
        lines += [f"## {_text(run.facts.label)}", "", _text(run.headline), "", *_reading_table(run.readings, rows), ""]
        lines += _flipped(run)
        if run.not_measured:
            lines += ["Not measured: " + _text("; ".join(run.not_measured)) + ".", ""]
        lines += _folded(comparison, run)
    lines[2:2] = [line for note in comparison.notes for line in (f"Note: {_text(note)}.", "")]
    return _capped(lines)


def _cost(run: RunComparison) -> str:
    return _size(run) + (f", speed {run.speed_ratio:.2f}×" if run.speed_ratio is not None else "")


def _size(run: RunComparison) -> str:
    if run.size_ratio is None:
        return "size unknown"
    return f"size {run.size_ratio:.2f} of dense"


def _rule_table(rows: Sequence[Row], limit: int) -> list[str]:
    ordered = worst_first(rows)
    lines = ["| Rule | Asked | Found | Verdict |", "|---|---|---|---|"]
    for row in ordered[:limit]:
        asked, found = _cell(row.asked), _cell(row.found)
        rule = f"{_cell(row.rule)} / {_cell(row.name)}"
        lines.append(f"| {rule} | {asked} | {found} | {_verdict(row)} |")
    return lines + _more(ordered, limit)


def _verdict(row: Row) -> str:
    """The word with its sign, and what excuses it."""
    if row.word is None:
        return "no rule asks"
    excused = row.waiver or ("passed by the policy" if row.word != "PASS" and row.outcome == "pass" else None)
    return f"{sign_of(row.code, row.word)} {row.word}" + (f" ({_cell(excused)})" if excused else "")


def _reading_table(rows: Sequence[Row], limit: int) -> list[str]:
    ordered = worst_first(rows)
    lines = ["| | Change (95 % interval) | Allowed | Verdict |", "|---|---|---|---|"]
    for row in ordered[:limit]:
        found, asked = _cell(row.found), _cell(row.asked)
        lines.append(f"| {_cell(row.name)} | {found} | {asked} | {_verdict(row)} |")
    return lines + _more(ordered, limit)


def _more(rows: Sequence[Row], limit: int) -> list[str]:
    return ["", f"… and {len(rows) - limit} more in the report."] if len(rows) > limit else []


def _flipped(run: RunComparison) -> list[str]:
    """The first flipped items with what was marked: options and likelihoods, but nothing that a model wrote."""
    if not run.flipped:
        return []
    lines = ["<details><summary>Items that flipped, and what was marked</summary>", ""]
    for item in run.flipped:
        lines.append(
            f"- {_text(item.task)} {_text(item.id)}, {item.kind}, by {CHANNELS[item.marked_by]}{_marked(item)}"
        )
        lines += [f"  - {_text(line[:160])}" for line in option_lines(item, named=not item.careful)]
    return [*lines, "", "</details>", ""]


def _marked(item: Flipped) -> str:
    if item.marked_by == "perplexity":
        return f": {_text(item.dense)} → {_text(item.compressed)}"
    return ": log-likelihood, dense → compressed" if item.options else ""


def _folded(comparison: Comparison, run: RunComparison) -> list[str]:
    """The method, folded away: enough to make the same again."""
    facts = [
        ("dense", f"{comparison.dense.label} ({(comparison.dense.model_sha256 or 'hash unknown')[:12]})"),
        ("compressed", f"{run.facts.label} ({(run.facts.model_sha256 or 'hash unknown')[:12]})"),
        ("method", run.facts.method or "none"),
        ("compress", run.facts.compress_command),
        ("evaluate", run.facts.evaluate_command),
        ("policy", comparison.policy.path or "built-in"),
        ("policy sha256", comparison.policy.sha256),
        ("made", f"{comparison.created} by llmc {comparison.llmc}"),
    ]
    inner = [f"- {key}: `{_code(value)}`" for key, value in facts if value]
    return ["<details><summary>How this was measured</summary>", "", *inner, "", "</details>", ""]


def _capped(lines: list[str]) -> str:
    """The lines, less the last table rows where they would not fit."""
    text = "\n".join(lines)
    if len(text.encode()) <= MAX_BYTES:
        return text
    note = "\n\n… cut here: the rest is in the report.\n"
    return text.encode()[: MAX_BYTES - len(note.encode())].decode(errors="ignore").rpartition("\n")[0] + note


def _text(value: str) -> str:
    """Text that no reader of Markdown turns into markup, a mention or a link."""
    escaped = "".join(f"\\{ch}" if ch in "\\`*_[]<>#|~&$!" else ch for ch in _plain(value))
    escaped = _BEGINNING.sub(r"\1\\\2", escaped)
    return _ADDRESS.sub(lambda found: f"{found.group()}\u200b", escaped)


def _cell(value: str) -> str:
    return _text(value)


def _code(value: str) -> str:
    return _plain(value).replace("`", "ʼ")


def _marker(name: str) -> str:
    return "".join(ch if ch.isalnum() or ch in "._-" else "-" for ch in name)


def _plain(value: str) -> str:
    return line(" ".join(value.split()))
