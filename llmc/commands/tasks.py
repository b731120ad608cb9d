"""`llmc tasks`: what can be asked."""

from __future__ import annotations

from typing import Annotated

import typer

from llmc.commands.rendering.say import say, say_json


def tasks(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List our tasks: suite, dimension, primary metric, source. Any lm-eval task can be asked as well."""
    from llmc.jobs.own_tasks import own_tasks

    rows = [
        {name: getattr(task, name) for name in ("name", "suite", "dimension", "version", "primary", "source")}
        for _, task in sorted(own_tasks().items())
    ]
    if as_json:
        say_json(rows, indent=1)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        say(f"{row['name']:<{width}}  {row['primary']:<16}  {row['source']}")


COMMAND = tasks
