"""Makes the demo's models, evaluates them, and prints knowledge beside perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from llmc.commands.rendering.progress import table_console
from llmc.commands.rendering.say import say
from llmc.errors import UserError
from llmc.jobs.asking import Asking
from llmc.jobs.compress import size
from llmc.jobs.pipeline import Pipeline, Variant, perform
from llmc.jobs.resolve import EMBEDDED
from llmc.judging.judge import Compared
from llmc.runs.writer import Run

COLUMNS: dict[str, tuple[str, str]] = {
    "perplexity": ("kick/perplexity", "perplexity"),
    "facts": ("kick/factoid_qa", "contains"),
    "closed book": ("kick/retrieval_qa", "closed"),
    "open book": ("kick/retrieval_qa", "open"),
    "choice": ("kick/multiple_choice_qa", "acc_text"),
    "letter": ("kick/multiple_choice_qa", "letter"),
    "summary facts": ("kick/summarization", "facts"),
    "orders": ("kick/instruction_following", "obeyed"),
}
"""What the demo's table shows: a task and one of its metrics for each column."""

Row = dict[str, Any]
_WIDE = 100


def make(
    out: Path,
    variants: Sequence[tuple[str, str, dict[str, object]]],
    *,
    overwrite: bool,
    resume: bool,
    limit: int | None,
) -> Compared:
    """Runs the pipeline over the embedded model; an earlier demo in `out` is replaced or gone on with if asked."""
    if resume and overwrite:
        raise UserError("--resume and --overwrite exclude each other", hint="give one of them")
    pipeline = Pipeline(
        model=EMBEDDED,
        out=out,
        variants=[Variant(name=name, method=method, settings=settings) for name, method, settings in variants],
        asking=Asking(suites=("kick", "trust"), scale="mini", limit=limit, device="cpu"),
        samples=64,
        seq_len=256,
        resume=resume,
        overwrite=overwrite,
        kind="demo",
        command=["llmc", "demo", "--out", str(out)],
    )
    return perform(pipeline, lambda stage: say(f"llmc: {stage}", err=True))


def rows_of(out: Path, names: Sequence[str]) -> list[Row]:
    """A row for the dense model and one for each variant: its size and the demo's columns, None where unmeasured."""
    rows = []
    for name in ("dense", *names):
        run = out / "runs" / name
        made = Run(run)
        results, facts = made.results["tasks"], made.manifest["model"]
        row: Row = {"name": name, "bytes_on_disk": facts["bytes_on_disk"]}
        for column, (task, metric) in COLUMNS.items():
            row[column] = results.get(task, {}).get("metrics", {}).get(metric, {}).get("value")
        rows.append(row)
    return rows


def show(rows: Sequence[Row], compared: Compared, out: Path) -> None:
    """Prints where the report is, the rows as a table, the verdicts, and where everything else is."""
    shown = [column for column in COLUMNS if any(row[column] is not None for row in rows)]
    lines = [["model", "weights on disk", *shown]]
    lines += [
        [row["name"], size(row["bytes_on_disk"]), *(_cell(column, row[column]) for column in shown)] for row in rows
    ]
    console = table_console()
    if console.width < _WIDE:  # a column a model, so that nothing is cut
        lines = [list(column) for column in zip(*lines, strict=True)]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2 if console.width >= _WIDE else 1, 0, 0))
    for heading in lines[0]:
        table.add_column(heading, justify="left" if heading == "model" else "right", overflow="fold")
    for line in lines[1:]:
        table.add_row(*line)
    say(f"report  {out / 'report' / 'report.html'}", "")
    console.print(table)
    say("", *(result.headline for result in compared.comparison.runs))
    say("", compared.comparison.recommendation)
    say("", f"models  {out / 'models'}", f"runs    {out / 'runs'}")


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if column == "perplexity" else f"{value:.1%}"
