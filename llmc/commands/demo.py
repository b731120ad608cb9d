"""`llmc demo`: the whole tool on the model inside the package, in a minute, without a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

VARIANTS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("wanda-50", "wanda", {"sparsity": 0.5}),
    ("gptq-4bit", "gptq", {"bits": 4, "group_size": 32}),
)
"""Directory, method and settings of what the demo makes."""


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the compressed models go.")] = Path("demo"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier demo wrote.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Compress the embedded model with Wanda 50 % and GPTQ 4-bit and show what each costs."""
    from llmc.commands._demo_table import measure, show

    rows = measure(out, VARIANTS, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        show(rows, out)


COMMAND: Any = demo
