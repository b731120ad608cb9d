"""`llmc eval`: a model in, a run directory and a table out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmc.commands.rendering import options
from llmc.commands.rendering.asking import with_asking
from llmc.commands.rendering.say import say, say_json

if TYPE_CHECKING:
    from llmc.jobs.asking import Asking


def evaluate(
    model: Annotated[str, options.MODEL],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new directory for the run.")],
    asking: Asking,
    dense_run: Annotated[Path | None, options.DENSE_RUN] = None,
    label: Annotated[str | None, typer.Option(help="What reports call the model; else its folder's name.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run of the same command.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Ask MODEL the questions of suites and tasks; write answers, marks and results; print a table with intervals."""
    from llmc.commands.rendering.progress import progress
    from llmc.jobs.asking import EvalJob
    from llmc.jobs.evaluate import run

    job = EvalJob(
        **vars(asking), model=model, out=out, dense_run=dense_run, label=label, resume=resume,
        command=["llmc", *sys.argv[1:]],
    )  # fmt: skip
    with progress("eval") as report:
        results = run(job, report)
    if as_json:
        say_json(results, indent=1, sort_keys=True)
    else:
        from llmc.commands.rendering.eval_table import table

        say(*table(results).split("\n"))


COMMAND = with_asking(evaluate)
