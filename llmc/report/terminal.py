"""The comparison as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmc.errors import unknown
from llmc.evaluate.stats.units import RATIO
from llmc.evaluate.stats.wording import Word, bare, plain, sign_of
from llmc.judging.comparison import Change, Comparison, Row, RunComparison
from llmc.judging.flip_text import CHANNELS, option_lines
from llmc.report.console import Console, joined, styled

_STYLES: dict[Word, str] = {
    "PASS": "blue",
    "FAIL": "bold red",
    "UNDECIDED": "yellow",
    "COLLAPSED": "bold reverse",
    "NOT COMPARED": "magenta",
}
_MOST = 160
"""Characters of an item's text."""
_WIDE = 110
"""Columns from which on a row stands on a line; a narrower terminal gets a block for each, so that nothing is cut."""


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Every run's readings, worst first, its answer, the items that tell most, then the recommendation."""
    for run in comparison.runs:
        in_readings = {(row.rule, row.level, row.name) for row in run.readings}
        others = [row for row in run.rules if (row.rule, row.level, row.name) not in in_readings]
        _print_rows(run.facts.label, [*run.readings, *others], console, rules=False)
        _say(run.headline, console)
        console.print()
        _print_flipped(run, console)
    if len(comparison.runs) > 1:
        _say(comparison.recommendation, console)
    for note in comparison.notes:
        _say(f"note: {note}", console)


def print_gate(run: RunComparison, console: Console) -> None:
    """The gate's rows, worst first, then its banner."""
    _print_rows(run.facts.label, run.rules, console, rules=True)
    _say(run.verdict, console)


def _say(text: str, console: Console) -> None:
    """A sentence: on lines of whole words where the terminal is narrow, and on one for a log."""
    console.print(text, soft_wrap=console.width >= _WIDE)


def _word(row: Row) -> Text:
    """The word with its sign, and what excuses it."""
    if row.word is None:
        return styled("  no rule asks", "dim")
    excused = " (waived)" if row.outcome == "waived" else ""
    if row.outcome == "pass" and row.word != "PASS":
        excused = " (passed by the policy)"
    return styled(f"{sign_of(row.code, row.word)} {row.word}{excused}", _STYLES[row.word])


def _print_rows(title: str, rows: Sequence[Row], console: Console, *, rules: bool) -> None:
    if console.width < _WIDE:
        _print_blocks(title, rows, console, rules=rules)
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    if rules:
        table.add_column("rule", overflow="fold")
    table.add_column("what", overflow="fold")
    table.add_column("asked", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        cells: list[str | Text] = [row.name if rules else _named(row), row.asked, row.found, _word(row)]
        table.add_row(*([row.rule, *cells] if rules else cells))
    console.print(table)


def _print_flipped(run: RunComparison, console: Console) -> None:
    """The first flipped items, with what was marked of each: options and likelihoods, or both texts."""
    for item in run.flipped:
        head = f"{item.kind}: {plain(item.task)} {item.id}, marked by {CHANNELS[item.marked_by]}"
        lines = [] if item.careful else [f"question: {item.question}"]
        if item.options:
            lines += option_lines(item, named=not item.careful)
        elif not item.careful:
            lines += [f"gold: {item.gold}", f"dense: {item.dense}", f"compressed: {item.compressed}"]
        console.print(_short(head))
        for line in lines:
            console.print(Padding(_short(line), (0, 0, 0, 4)))
    if run.flipped:
        console.print()


def _short(text: str) -> str:
    """The first words of models and data."""
    return " ".join(text.split())[:_MOST]


def _named(row: Row) -> str:
    """A row's name without its rule: a suite's says that it is the whole, and tasks' are told from dimensions'."""
    return f"{row.name} as a whole" if row.level == "suite" else row.name


def _print_blocks(title: str, rows: Sequence[Row], console: Console, *, rules: bool) -> None:
    """A block of lines for each row: word and name, then what was found and what was asked, on lines of whole words."""
    console.print(styled(title, "bold"))
    for row in rows:
        name = f"{row.rule} / {row.name}" if rules else _named(row)
        console.print(joined(_word(row), f"  {name}"))
        for text in (row.found, row.asked):
            console.print(Padding(text, (0, 0, 0, 4)))


def print_rule(run: RunComparison, rule: str, console: Console) -> None:
    """How each row of one rule was decided, number by number."""
    rows = [row for row in run.rules if row.rule == rule]
    if not rows:
        raise unknown("rule", rule, {row.rule for row in run.rules})
    for row in rows:
        lines = [f"asked     {row.asked}"]
        if row.change is not None:
            lines += _arithmetic(row.change, row.unit)
        lines += [f"verdict   {row.sentence}", f"outcome   {row.outcome}"]
        lines += [f"note      {note}" for note in row.notes]
        if row.worst_items:
            lines.append(f"items     {', '.join(row.worst_items)}")
        console.print(styled(f"{rule} / {row.name}", "bold"))
        for each in lines:
            console.print(each, soft_wrap=console.width >= _WIDE)
        console.print()


def _arithmetic(change: Change, unit: str) -> list[str]:
    """The numbers behind a verdict, one a line."""
    places = 4 if unit == RATIO else 3
    value = bare(change.value, unit, places)
    lines = [f"change    {value} {unit} over {change.n:,} items in {change.n_clusters:,} clusters"]
    if change.low is not None and change.high is not None:
        lines.append(
            f"interval  {bare(change.low, unit, places)} to {bare(change.high, unit, places)} ({change.route})"
        )
    if change.bootstrap is not None:
        low, high = change.bootstrap
        lines.append(f"bootstrap {bare(low, unit, places)} to {bare(high, unit, places)} (drawn, not decisive)")
    if change.stderr is not None:
        deff = "" if change.deff is None else f", design effect {change.deff:.2f}"
        lines.append(f"error     {change.stderr:.{places}f} {unit}{deff}")
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
