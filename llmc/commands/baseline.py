"""`llmc baseline`: name the dense run that a pipeline's gate compares with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering.say import say, say_json

COMMAND = typer.Typer(help="Name the dense run that gates compare with.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--folder", help="Where baselines are kept.")]


@COMMAND.command()
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, dots, dashes, underscores.")],
    run: Annotated[Path, typer.Argument(metavar="DENSE_RUN", help="A complete run of the dense model.")],
    folder: Folder = Path(".llmc/baselines"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a baseline of that name.")] = False,
) -> None:
    """Name DENSE_RUN, with the sha256 of its contents, for `llmc gate --baseline NAME RUN`."""
    from llmc.runs import baselines

    made = baselines.save(name, run, folder, overwrite=overwrite)
    say(f"{folder / name}.json: {made.model}, sha256 {made.sha256[:12]}")


@COMMAND.command(name="list")
def list_(
    folder: Folder = Path(".llmc/baselines"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the baselines and where their runs are."""
    from llmc.runs import baselines

    found = [baselines.read(name, folder) for name in baselines.names(folder)]
    if as_json:
        say_json([asdict(made) for made in found], indent=1)
        return
    if not found:
        say(f"no baseline in {folder}; make one with `llmc baseline save NAME DENSE_RUN`", err=True)
    for made in found:
        say(f"{made.name}  {made.model}  {(folder / made.run).resolve()}  sha256 {made.sha256[:12]}")
