"""`llmc inspect`: what a compression did to every matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmc.commands.rendering.say import say, say_json

if TYPE_CHECKING:
    from llmc.compress.manifest import Manifest, MatrixRecord


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
    """Show the manifest of a compressed checkpoint: zeros, bits and output error of every matrix, and the totals."""
    from llmc.compress.manifest import read_manifest

    account = read_manifest(directory)
    if as_json:
        say_json(account.model_dump(mode="json"), indent=2)
        return
    records = [r for r in account.matrices if r.block is not None]
    if worst:
        records = sorted(records, key=lambda r: -(r.relative_output_error or 0.0))[:worst]
    _print_matrices(account, records)
    _print_tables([r for r in account.matrices if r.block is None])
    _print_totals(account, stored_dtypes(directory))
    for sentence in [*account.warnings, *(text for record in account.matrices for text in record.warnings)]:
        say(f"note: {sentence}")


def _print_matrices(account: Manifest, records: Sequence[MatrixRecord]) -> None:
    """A line a matrix, in 80 columns: what all have in common is said once, above."""
    from rich.table import Table

    from llmc.commands.rendering.progress import table_console
    from llmc.jobs.compress import zeros_name

    prefix = _common_prefix([r.name for r in records])
    columns: dict[str, list[str]] = {
        "matrix": [r.name[len(prefix) :] for r in records],
        "out × in": [f"{r.shape[0]} × {r.shape[1]}" for r in records],
        zeros_name(account): [f"{r.sparsity:.2%}" for r in records],
        "bits a weight": [f"{r.bits_per_weight:.2f}" for r in records],
        "output error": ["–" if (e := r.relative_output_error) is None else f"{e:.3g}" for r in records],
    }
    for name, values in (
        ("tokens", [f"{r.n_tokens:,}" for r in records]),
        ("damping", ["–" if r.damping is None else f"{r.damping:g}" for r in records]),
        ("stored as", [r.stored_as for r in records]),
    ):
        if len(set(values)) > 1:
            columns[name] = values
        elif values and values[0] != "–":
            say(f"{name:10} {values[0]}, every matrix")
    if prefix:
        say(f"{'names':10} begin with {prefix}")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for name in columns:
        table.add_column(name, justify="left" if name in {"matrix", "stored as"} else "right", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    table_console().print(table)


def _print_tables(records: Sequence[MatrixRecord]) -> None:
    """Two lines for each embedding and head that was quantised."""
    for r in records:
        groups = "one group a row" if r.group_size == -1 else f"groups of {r.group_size}"
        say("", f"{r.name}: {r.shape[0]} × {r.shape[1]}, {r.bits} bits, {groups}, {r.bits_per_weight:.2f} a weight")
        errors = [f"weights {e:.3g}"] if (e := r.relative_weight_error) is not None else []
        if (e := r.relative_output_error) is not None:
            errors.append(f"rows of the {r.n_tokens:,} calibration tokens {e:.3g}")
        say(f"{'error':10} {', '.join(errors) or '–'}; stored as {r.stored_as}")


def _common_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a dot."""
    if len(names) < 2:
        return ""
    first, last = min(names), max(names)
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[: first.rfind(".", 0, shared) + 1]


def _print_totals(account: Manifest, dtypes: dict[str, int]) -> None:
    from llmc.jobs.compress import describe, size, zeros_name

    t, source = account.totals, account.source
    say("", f"{describe(account)}, from {source.model} ({source.architecture}, {source.dtype})")
    say(f"on disk    {size(t.bytes_on_disk_before)} -> {size(t.bytes_on_disk)}")
    if dtypes:
        say(f"dtypes     {', '.join(f'{name} {size(n)}' for name, n in dtypes.items())}")
    say(f"in memory  {size(t.memory_bytes_before)} -> {size(t.memory_bytes)} as stored; stock loaders may unpack it")
    say(f"parameters {t.parameters_before:,} -> {t.parameters:,}, {t.nonzero_parameters:,} not zero")
    say(
        f"{zeros_name(account):10} {t.compressed_sparsity:.2%} of the compressed matrices, {t.sparsity:.2%} of all "
        "parameters"
    )


def stored_dtypes(directory: Path) -> dict[str, int]:
    """Bytes of the checkpoint's tensors by the dtype that they are stored in, most first: packed codes are integers."""
    from llmc.reading.safetensors_header import safetensors_header

    found: dict[str, int] = {}
    for shard in sorted(directory.glob("*.safetensors")):  # none: a manifest can be read without its weights
        for info in safetensors_header(shard, hint="compress the model again").values():
            found[info.dtype] = found.get(info.dtype, 0) + info.n_bytes
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


COMMAND = inspect
