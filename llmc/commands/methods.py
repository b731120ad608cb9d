"""`llmc methods`: the compression methods, their settings, defaults and papers."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from llmc.commands import _completion


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", autocompletion=_completion.methods, help="One method; all of them when left out."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the compression methods with their settings, defaults and papers."""
    from rich.table import Table

    from llmc.catalog import pick
    from llmc.commands._compress_job import setting_rows
    from llmc.commands._progress import table_console
    from llmc.compress._recipe import methods as all_methods

    found = all_methods()
    chosen = dict(found) if name is None else {name: pick(found, name, "compression method")}
    if as_json:
        keys = ("name", "type", "default", "help")
        listing = [
            {"name": m.name, "kind": m.kind, "source": m.source, "needs": m.needs.name.lower(),
             "settings": [dict(zip(keys, row, strict=True)) for row in setting_rows(m)]}
            for m in chosen.values()
        ]  # fmt: skip
        typer.echo(json.dumps(listing, indent=2))
        return
    console = table_console()
    for method in chosen.values():
        first = (method.__doc__ or "").strip().splitlines()[0]
        console.print(
            f"[bold]{method.name}[/bold]  {method.kind}  [dim]{method.source}[/dim]\n  {first}", highlight=False
        )
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        for setting, kind, default, text in setting_rows(method):
            table.add_row(f"--set {setting}=", kind, default, text)
        console.print(table)


COMMAND = methods
