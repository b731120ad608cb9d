"""`llmc compare`: a dense run and compressed ones in, one page with the verdict out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering.say import say, say_json
from llmc.errors import UserError

MAX_HTML_MB = 8.0


def compare(
    dense: Annotated[Path, typer.Argument(metavar="DENSE_RUN", help="The run of the dense model.")],
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Runs of compressed models.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A new directory for the report.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="gate.toml with the losses allowed; the built-in rules without it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report.")] = False,
    redact: Annotated[bool, typer.Option("--redact", help="Write the ids of items and none of their text.")] = False,
    max_html_mb: Annotated[
        float, typer.Option(help="Size of the page at most; text beyond it is in items.jsonl.gz alone.")
    ] = MAX_HTML_MB,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json instead of tables.")] = False,
) -> None:
    """Compare compressed runs with DENSE_RUN, item by item: what is kept, what is lost, and how sure that is."""
    from llmc.jobs.compare import judged
    from llmc.report.page import PageOptions
    from llmc.report.terminal import print_comparison
    from llmc.report.write import check_report, write_report

    if out is None:
        asked = {"--overwrite": overwrite, "--redact": redact, "--max-html-mb": max_html_mb != MAX_HTML_MB}
        for option in (name for name, given in asked.items() if given):
            raise UserError(f"{option} has no meaning without --out", hint="give --out DIR, or leave it out")
    if out is not None:
        reads = {"the dense run": dense, "the policy": policy, **{f"the run {run}": run for run in runs}}
        check_report(out, overwrite=overwrite, reads=reads)
    options = PageOptions(max_mb=max_html_mb, redact=redact)
    compared = judged(dense, runs, policy, command=sys.argv)
    written = [] if out is None else write_report(compared, out, options, overwrite=overwrite)
    if as_json:
        say_json(compared.comparison.model_dump(mode="json"), indent=1)
    else:
        from llmc.commands.rendering.progress import table_console

        print_comparison(compared.comparison, table_console())
        if written:
            say("", written[0])
    refused = [f"{run.facts.label}: {health.task}" for run in compared.comparison.runs
               for health in run.health if health.not_compared]  # fmt: skip
    if refused:
        say(f"llmc: not compared: {', '.join(refused[:5])}; the report says why", err=True)


COMMAND = compare
