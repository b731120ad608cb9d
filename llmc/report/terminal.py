"""The comparison as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from llmc.errors import unknown
from llmc.evaluate.verdict import Code
from llmc.evaluate.wording import SIGNS, WORDS, number, plain
from llmc.report.comparison import Change, Comparison, Row, RunComparison

_STYLES: dict[Code, str] = {
    "kept": "blue",
    "gained": "blue",
    "lost": "bold red",
    "undecided": "yellow",
    "collapsed": "bold reverse",
    "not-compared": "magenta",
}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Every run's readings, worst first, then the recommendation."""
    for run in comparison.runs:
        rows = [r for r in run.readings if not _same_as_dimension(r, run.readings)]
        console.print(_table(run.facts.label, rows, rules=False))
        console.print(escape(run.headline) + "\n", highlight=False, soft_wrap=True)
    if len(comparison.runs) > 1:
        console.print(escape(comparison.recommendation), highlight=False, soft_wrap=True)
    for note in comparison.notes:
        console.print(escape(f"note: {note}"), highlight=False, soft_wrap=True)


def print_gate(run: RunComparison, console: Console) -> None:
    """The gate's rows, worst first, then its banner."""
    console.print(_table(run.facts.label, run.rules, rules=True))
    console.print(escape(run.verdict), highlight=False, soft_wrap=True)


def _same_as_dimension(row: Row, rows: Sequence[Row]) -> bool:
    """A task that is the whole of its dimension would only repeat it."""
    return row.level == "task" and any(r.level == "dimension" and r.tasks == [row.name] for r in rows)


def _table(title: str, rows: Sequence[Row], *, rules: bool) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, header_style="bold")
    if rules:
        table.add_column("rule", overflow="fold")
    table.add_column("what", overflow="fold")
    table.add_column("asked", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        style = _STYLES[row.code]
        word = f"{SIGNS[row.code]} {WORDS[row.code]}" + (" (waived)" if row.outcome == "waived" else "")
        cells = [
            escape(row.name if rules else plain(row.name)),
            escape(row.asked),
            escape(row.found),
            f"[{style}]{word}[/]",
        ]
        table.add_row(*([escape(row.rule), *cells] if rules else cells))
    return table


def print_rule(run: RunComparison, rule: str, console: Console) -> None:
    """How each row of one rule was decided, number by number."""
    rows = [row for row in run.rules if row.rule == rule]
    if not rows:
        raise unknown("rule", rule, {row.rule for row in run.rules})
    for row in rows:
        lines = [f"[bold]{escape(rule)} / {escape(row.name)}[/]", f"asked     {escape(row.asked)}"]
        if row.change is not None:
            lines += _arithmetic(row.change, row.unit)
        lines += [f"verdict   {escape(row.sentence)}", f"outcome   {row.outcome}"]
        lines += [f"note      {escape(note)}" for note in row.notes]
        if row.worst_items:
            lines.append(f"items     {escape(', '.join(row.worst_items))}")
        console.print("\n".join(lines) + "\n", highlight=False, soft_wrap=True)


def _arithmetic(change: Change, unit: str) -> list[str]:
    """The numbers behind a verdict, one a line."""
    lines = [f"change    {number(change.value, 3)} {unit} over {change.n:,} items in {change.n_clusters:,} clusters"]
    if change.low is not None and change.high is not None:
        lines.append(f"interval  {number(change.low, 3)} to {number(change.high, 3)} ({change.route})")
    if change.bootstrap is not None:
        low, high = change.bootstrap
        lines.append(f"bootstrap {number(low, 3)} to {number(high, 3)} (drawn, not decisive)")
    if change.stderr is not None:
        deff = "" if change.deff is None else f", design effect {change.deff:.2f}"
        lines.append(f"error     {change.stderr:.3f} {unit}{deff}")
    if change.lost is not None and change.gained is not None:
        lines.append(f"flips     {change.lost:,} lost, {change.gained:,} gained")
    if change.mcnemar_mid_p is not None:
        lines.append(f"McNemar   mid-p {change.mcnemar_mid_p:.3g} (as many lost as gained; not decisive)")
    if change.sign_flip_p is not None:
        lines.append(f"sign flip p {change.sign_flip_p:.3g} (whole clusters swapped between the runs; not decisive)")
    if change.p_loss is not None:
        lines.append(f"p         {change.p_loss:.3g} of a loss within what is allowed; Holm over the rule's rows")
    if change.detectable is not None:
        lines.append(f"power     a change of {change.detectable:.2f} {unit} shows with a chance of 80 %")
    return lines
