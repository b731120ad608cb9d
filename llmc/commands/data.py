"""`llmc data`: the datasets that real-data scales read, where they come from and whether they are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering.say import say, say_json
from llmc.errors import UserError

app = typer.Typer(help="List, fetch and check the datasets that --data-root holds.", no_args_is_help=True)
Root = Annotated[Path, typer.Option("--data-root", help="Folder of the real data, one folder a dataset inside.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Every dataset with its rows, licence and source."""
    from llmc.data.pinned import datasets

    rows = [
        {"name": each.name, "rows": each.rows, "licence": each.licence, "source": each.source, "files": len(each.files)}
        for each in datasets().values()
    ]
    if as_json:
        say_json(rows, indent=1)
        return
    for row in rows:
        say(f"{row['name']:<14} {row['rows']:<34} {row['licence']:<14} {row['source']}")


@app.command()
def verify(
    data_root: Root,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Datasets; all of them when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every file's sha256; exit code 2 when one is missing or changed."""
    from llmc.data.pinned import dataset, datasets
    from llmc.data.pinned import verify as check

    states = {name: check(dataset(name), data_root) for name in names or list(datasets())}
    if as_json:
        say_json(states, indent=1)
    bad = {path: state for files in states.values() for path, state in files.items() if state != "ok"}
    if not as_json:
        for name, files in states.items():
            wrong = sum(state != "ok" for state in files.values())
            say(f"{name:<14} {len(files) - wrong} of {len(files)} files are right")
    if bad:
        path, state = next(iter(bad.items()))
        first = dataset(path.split("/")[0])
        way = f"run `llmc data pull {first.name} --data-root {data_root}`"
        raise UserError(
            f"{len(bad)} files under {data_root} are missing or changed, the first is {path} ({state})",
            hint=f"get it from {first.source}" if first.download is None else way,
        )


@app.command()
def pull(
    data_root: Root,
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="Datasets, as `llmc data list` names them.")],
) -> None:
    """Fetch datasets from their authors' addresses; a file counts only when its sha256 is right."""
    from llmc.data.pinned import dataset, fetch
    from llmc.offline import network

    for name in names:
        with network(allowed=True):
            fetched = fetch(dataset(name), data_root)
        say(f"{name}: {len(fetched)} files fetched" if fetched else f"{name}: already there")


COMMAND = app
