"""`llmc demo`: the whole tool on the model inside the package, in minutes, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering.say import say_json

VARIANTS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("sparsegpt-50", "sparsegpt", {"sparsity": 0.5}),
    ("wanda-50", "wanda", {"sparsity": 0.5}),
    ("gptq-4bit", "gptq", {"bits": 4, "group_size": 32}),
    ("gptq-8bit", "gptq", {"bits": 8}),
)
"""Name, method and settings of what the demo makes."""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where models, runs and the report go.")] = Path("demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier demo wrote.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished demo.")] = False,
    limit: Annotated[
        int | None, typer.Option(help="At most this many items a task; all of them when left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Compress the embedded model four ways, ask all five what they know, and write the report that compares them."""
    from llmc.commands.rendering.demo_table import make, rows_of, show

    compared = make(out, VARIANTS, overwrite=overwrite, resume=resume, limit=limit)
    rows = rows_of(out, [name for name, _, _ in VARIANTS])
    if as_json:
        say_json(rows, indent=2)
    else:
        show(rows, compared, out)


COMMAND = demo
