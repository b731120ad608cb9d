"""`llmc inspect`: what a compression did to every matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A directory that `llmc compress` wrote.")],
    worst: Annotated[
        int,
        typer.Option(
            min=0, help="Show only this many matrices, those with the largest output error first; 0 shows all."
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole manifest as JSON.")] = False,
) -> None:
    """Show the manifest of a compressed checkpoint: sparsity, bits and output error of every matrix, and the totals."""
    from rich.table import Table

    from llmc.commands._compress_job import describe, size
    from llmc.commands._progress import table_console
    from llmc.compress._manifest import read_manifest

    account = read_manifest(directory)
    if as_json:
        typer.echo(account.model_dump_json(indent=2))
        return
    console = table_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("matrix", "out × in", "sparsity", "bits a weight", "output error", "tokens", "damping", "stored as"):
        table.add_column(column, justify="left" if column in {"matrix", "stored as"} else "right", no_wrap=True)
    records = account.matrices
    if worst:
        records = sorted(records, key=lambda r: -(r.relative_output_error or 0.0))[:worst]
    for r in records:
        error = "–" if r.relative_output_error is None else f"{r.relative_output_error:.3g}"
        damping = "–" if r.damping is None else f"{r.damping:g}"
        table.add_row(
            r.name, f"{r.shape[0]} × {r.shape[1]}", f"{r.sparsity:.2%}", f"{r.bits_per_weight:.2f}", error,
            f"{r.n_tokens:,}", damping, r.stored_as,
        )  # fmt: skip
    console.print(table)
    t = account.totals
    typer.echo(
        f"\n{describe(account)}, from {account.source.model} ({account.source.architecture}, {account.source.dtype})"
    )
    typer.echo(f"on disk    {size(t.bytes_on_disk_before)} -> {size(t.bytes_on_disk)}")
    typer.echo(
        f"in memory  {size(t.memory_bytes_before)} -> {size(t.memory_bytes)} as stored; stock loaders may unpack it"
    )
    typer.echo(f"parameters {t.parameters_before:,} -> {t.parameters:,}, {t.nonzero_parameters:,} not zero")
    typer.echo(f"sparsity   {t.compressed_sparsity:.2%} of the compressed matrices, {t.sparsity:.2%} of all parameters")
    for sentence in [*account.warnings, *(text for record in account.matrices for text in record.warnings)]:
        typer.echo(f"note: {sentence}")


COMMAND = inspect
