"""Makes the demo's models, measures them against the dense one, and prints the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import typer
from rich.table import Table

from llmc.commands._compress_job import describe, make_job, run, size
from llmc.commands._progress import table_console
from llmc.commands._resolve import EMBEDDED, resolve
from llmc.data.world.text import heldout_text
from llmc.evaluate.perplexity import window_perplexity
from llmc.models.checkpoint import Checkpoint
from llmc.models.load import load_model, load_tokenizer, quiet

WINDOW = 256
"""Tokens of a perplexity window: the embedded model was trained on that length."""

Row = dict[str, Any]


def measure(out: Path, variants: Sequence[tuple[str, str, dict[str, object]]], *, overwrite: bool) -> list[Row]:
    """A row for the dense model and one for each variant, which is compressed into `out` first."""
    quiet()
    dense = resolve(EMBEDDED)
    tokens = torch.tensor(load_tokenizer(dense)(heldout_text(), verbose=False)["input_ids"])
    rows = [_row("dense", dense, tokens) | {"bits_per_weight": None, "sparsity": 0.0}]
    for directory, method, settings in variants:
        job = make_job(
            EMBEDDED, out / directory, method, None, settings,
            calibration="mini", samples=64, seq_len=WINDOW, seed=0, format_name=None, device="cpu", dtype="auto",
            resume=False, overwrite=overwrite, max_shard_gb=5.0, command=None,
        )  # fmt: skip
        account = run(job, dry_run=False)
        assert account is not None
        totals = account.totals
        rows.append(
            _row(describe(account), out / directory, tokens)
            | {"bits_per_weight": totals.compressed_bits_per_weight, "sparsity": totals.compressed_sparsity}
        )
    return rows


def _row(name: str, directory: Path, tokens: torch.Tensor) -> Row:
    model = load_model(directory, dtype=torch.float32)
    found = window_perplexity(model, tokens, WINDOW)
    return {
        "name": name,
        "directory": str(directory),
        "bytes_on_disk": Checkpoint(directory).n_bytes,
        "perplexity": found.value,
        "n_tokens": found.n_tokens,
    }


def show(rows: Sequence[Row], out: Path) -> None:
    """Prints the rows as a table and says where the files are."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "weights on disk", "sparsity", "bits a weight", "perplexity", "against dense"):
        table.add_column(column, justify="left" if column == "model" else "right")
    dense = rows[0]["perplexity"]
    for row in rows:
        bits = "–" if row["bits_per_weight"] is None else f"{row['bits_per_weight']:.2f}"
        change = "–" if row is rows[0] else f"{row['perplexity'] / dense - 1:+.1%}"
        table.add_row(
            row["name"], size(row["bytes_on_disk"]), f"{row['sparsity']:.0%}", bits, f"{row['perplexity']:.3f}", change
        )  # fmt: skip
    table_console().print(table)
    typer.echo(f"\nperplexity over {rows[0]['n_tokens']:,} held-out tokens")
    for row in rows[1:]:
        typer.echo(f"{row['name']}: {row['directory']}")
    typer.echo(f"`llmc inspect {rows[-1]['directory']}` shows what happened to every matrix")
