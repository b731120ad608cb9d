"""`llmc gate`: one exit code that says whether a compressed model may ship."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmc.commands.rendering.say import say, say_json, say_ready
from llmc.errors import Exit, UserError

if TYPE_CHECKING:
    from llmc.judging.comparison import RunComparison
    from llmc.judging.judge import Compared


def gate(
    dense: Annotated[Path | None, typer.Argument(metavar="DENSE_RUN", help="The run of the dense model.")] = None,
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="The run of the compressed model.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare with this saved baseline: `llmc gate --baseline NAME RUN`."),
    ] = None,
    baselines: Annotated[Path, typer.Option(help="Where baselines are kept.")] = Path(".llmc/baselines"),
    policy: Annotated[
        Path | None, typer.Option(help="gate.toml with the losses allowed; the built-in rules without it.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="Write comparison.json here; - prints it.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", "--summary", help="Write the Markdown summary here.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    annotations: Annotated[
        Literal["github", "none"], typer.Option(help="Print workflow commands that mark the policy's lines.")
    ] = "none",
    check_policy: Annotated[bool, typer.Option("--check-policy", help="Read the policy, say so, and stop.")] = False,
    explain: Annotated[str | None, typer.Option(metavar="RULE", help="Print how a rule was decided.")] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0, and say which code it replaces.")] = False,
) -> None:
    """Judge RUN against DENSE_RUN: exit 0 passed, 1 lost or collapsed, 2 mistake, 3 undecided, 4 not comparable."""
    from llmc.judging.policy_file import load_policy

    if check_policy:
        file = load_policy(policy)
        say(f"{policy or 'the built-in policy'}: {len(file.policy.rule)} rules, {len(file.policy.budget)} budgets")
        return
    if baseline is not None:
        if run is not None:
            raise UserError("--baseline takes the dense run's place", hint="llmc gate --baseline NAME RUN")
        from llmc.runs.baselines import find

        dense, run = find(baseline, baselines), dense
    if dense is None or run is None:
        raise UserError("the gate compares two runs", hint="llmc gate DENSE_RUN RUN --policy gate.toml")
    from llmc.jobs.compare import judged

    _check_outputs({"--junit": junit, "--json": json_, "--html": html, "--markdown": markdown})
    compared = judged(dense, [run], policy, command=sys.argv)
    result = compared.comparison.runs[0]
    _write(compared, junit=junit, json_=json_, markdown=markdown, html=html)
    _show(compared, result, explain, quiet=str(json_) == "-")
    if annotations == "github":
        from llmc.report.annotations import github_annotations

        for command in github_annotations(compared.comparison):
            say_ready(command)
    if exit_zero and result.exit_code != Exit.OK:
        say(f"llmc: exit code {result.exit_code} replaced by 0 (--exit-zero)", err=True)
        return
    raise typer.Exit(result.exit_code)


def _check_outputs(outputs: dict[str, Path | None]) -> None:
    """Raises `UserError` for a path that can't be written, or whose file is not one that an earlier gate wrote."""
    from llmc.folders.output_file import check_output_file
    from llmc.report.written import WRITTEN

    seen: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None or (option == "--json" and str(path) == "-"):
            continue
        if (other := seen.setdefault(os.path.realpath(path), option)) != option:
            raise UserError(f"{option} and {other} name the same file", hint="give each its own")
        if option != "--markdown" or str(path) != os.environ.get("GITHUB_STEP_SUMMARY"):
            check_output_file(path, WRITTEN[option], option)


def _write(
    compared: Compared, *, junit: Path | None, json_: Path | None, markdown: Path | None, html: Path | None
) -> None:
    from llmc.folders.output_file import append
    from llmc.report.junit import junit as junit_xml
    from llmc.report.markdown import gate_markdown
    from llmc.report.page import PageOptions
    from llmc.report.write import to_json, write_page, write_text

    if junit is not None:
        write_text(junit, junit_xml(compared.comparison).decode())
    if json_ is not None and str(json_) != "-":
        write_text(json_, to_json(compared.comparison))
    if html is not None:
        write_page(compared, html, PageOptions())
    if markdown is not None:
        text = gate_markdown(compared.comparison) + "\n"
        if str(markdown) == os.environ.get("GITHUB_STEP_SUMMARY"):
            # Other lines of the same step may have written there before.
            append(markdown, text)
        else:
            write_text(markdown, text)


def _show(compared: Compared, result: RunComparison, explain: str | None, *, quiet: bool) -> None:
    if quiet:
        say_json(compared.comparison.model_dump(mode="json"), indent=1)
        return
    from llmc.commands.rendering.progress import table_console
    from llmc.report.terminal import print_gate, print_rule

    console = table_console()
    if explain is not None:
        print_rule(result, explain, console)
    print_gate(result, console)


COMMAND = gate
