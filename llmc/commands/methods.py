"""`llmc methods`: the compression methods, their settings, defaults and papers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from llmc.commands.rendering import completion
from llmc.commands.rendering.say import say_json

if TYPE_CHECKING:
    from llmc.compress.method import Method


def methods(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", autocompletion=completion.methods, help="One method; all of them when left out."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the compression methods with their settings, defaults and papers."""
    from rich.table import Table

    from llmc.catalog import pick
    from llmc.commands.rendering.progress import table_console
    from llmc.compress.recipe import methods as all_methods
    from llmc.report.console import joined, styled

    found = all_methods()
    chosen = dict(found) if name is None else {name: pick(found, name, "compression method")}
    if as_json:
        keys = ("name", "type", "default", "help")
        listing = [
            {"name": m.name, "kind": m.kind, "source": m.source, "needs": m.needs.name.lower(),
             "settings": [dict(zip(keys, row, strict=True)) for row in _setting_rows(m)]}
            for m in chosen.values()
        ]  # fmt: skip
        say_json(listing, indent=2)
        return
    console = table_console()
    for method in chosen.values():
        first = (method.__doc__ or "").strip().splitlines()[0]
        console.print(joined(styled(method.name, "bold"), f"  {method.kind}  ", styled(method.source, "dim")))
        console.print(f"  {first}")
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 2))
        for setting, kind, default, text in _setting_rows(method):
            table.add_row(f"--set {setting}=", kind, default, text)
        console.print(table)


def _setting_rows(method: type[Method]) -> list[tuple[str, str, str, str]]:
    """(name, type, default, help) of every setting of a method."""
    from llmc.compress.recipe import settings_of
    from llmc.compress.settings_help import field_help

    texts = field_help(method)
    rows = []
    for name, field in settings_of(method).items():
        default = field.default if field.default is not dataclasses.MISSING else "required"
        rows.append((name, str(field.type), str(default), texts.get(name, "")))
    return rows


COMMAND = methods
