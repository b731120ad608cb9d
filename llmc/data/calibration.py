"""Calibration tokens from a text, JSONL, CSV or Parquet file, the made-up world, or a pinned dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmc.data.framing import frame_of
from llmc.data.hub_text import PINNED, hub_text
from llmc.data.rows import json_rows, table_rows, whole_text
from llmc.errors import UserError, unknown

PROBE_CHARACTERS = 200
"""Of the first document, to see what the tokenizer puts around a text."""


@dataclass(frozen=True)
class Calibration:
    """Token windows of one length, and where they came from."""

    tokens: Tensor
    """(sequences, length) int64, without padding."""
    source: str
    revision: str | None
    warnings: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """The hash of the token ids as little-endian int64, row by row."""
        return hashlib.sha256(self.tokens.numpy().astype("<i8").tobytes()).hexdigest()


def calibrate(tokenizer: Any, source: str, *, samples: int, seq_len: int, seed: int) -> Calibration:
    """`samples` windows of `seq_len` tokens, drawn without overlap from the documents of `source` in seeded order.

    Documents are joined by the end-of-text token, so every window is full and nothing is padded. Where the tokenizer
    puts tokens before every text (beginning-of-text), each window starts with them, as all that the model reads later
    does. Fewer windows than asked are taken as they are, with a warning; a `UserError` if there is not even one.
    """
    if samples < 1 or seq_len < 2:
        raise UserError(f"--samples {samples} and --seq-len {seq_len} ask for no tokens", hint="use at least 1 and 2")
    documents, revision = _documents(source)
    lead, stream = _stream(tokenizer, documents, wanted=8 * samples * seq_len)
    width = seq_len - len(lead)
    if width < 1:
        raise UserError(f"--seq-len {seq_len} leaves no room beside {len(lead)} beginning-of-text tokens")
    n_windows = len(stream) // width
    if n_windows == 0:
        raise UserError(
            f"{source} has {len(stream)} tokens, less than one sequence of {seq_len}",
            hint=f"use --seq-len {max(2, len(stream) + len(lead))} or a longer text",
        )
    text = torch.tensor(stream[: n_windows * width]).view(n_windows, width)
    windows = torch.cat([torch.tensor(lead, dtype=torch.long).expand(n_windows, -1), text], 1)
    order = torch.randperm(n_windows, generator=torch.Generator().manual_seed(seed))[:samples]
    warnings: tuple[str, ...] = ()
    if n_windows < samples:
        warnings = (f"{source} has only {n_windows} of the {samples} sequences asked for.",)
    return Calibration(windows[order].contiguous(), source, revision, warnings)


def _stream(tokenizer: Any, documents: Iterator[str], wanted: int) -> tuple[tuple[int, ...], list[int]]:
    """What the tokenizer puts before every text, and the tokens of the joined documents without it."""
    end = tokenizer.eos_token_id
    lead: tuple[int, ...] | None = None
    stream: list[int] = []
    for text in documents:
        if text.strip():
            lead = frame_of(tokenizer, text.strip()[:PROBE_CHARACTERS]).lead if lead is None else lead
            stream += tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            if end is not None:
                stream.append(end)
        if len(stream) >= wanted:
            break
    return lead or (), stream


def check_source(source: str) -> None:
    """Raises `UserError` unless `source` is a name that is known or a file that exists."""
    _documents(source)


def _documents(source: str) -> tuple[Iterator[str], str | None]:
    if source in PINNED:
        return hub_text(source), PINNED[source].revision
    if source == "mini":
        from llmc.data.world.text import calibration_text

        return iter(calibration_text(seed=0).split("\n\n")), None
    path = Path(source)
    if path.is_file():
        return _file(path), hashlib.sha256(path.read_bytes()).hexdigest()
    if path.suffix or "/" in source:
        raise UserError(f"calibration file {source} does not exist", hint="give a .txt, .jsonl, .csv or .parquet file")
    raise unknown("calibration text", source, ["mini", *PINNED])


def _file(path: Path) -> Iterator[str]:
    """The documents of a file: lines of JSONL, rows of Parquet or CSV, or one document of a text file."""
    way = "give a .txt, .jsonl, .csv or .parquet file"
    try:
        if path.suffix in {".jsonl", ".json"}:
            for number, row in json_rows(path):
                yield _text_of(row, f"{path}:{number}")
        elif path.suffix == ".csv":
            for number, row in table_rows(path):
                yield _text_of(row, f"{path}:{number}")
        elif path.suffix == ".parquet":
            yield from _parquet(path)
        else:
            yield _checked(whole_text(path), str(path))
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(f"{path} can't be read: {error}", hint=way) from error


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    if "text" not in file.schema_arrow.names:
        raise UserError(f"{path} has no column 'text'", hint=f"its columns: {', '.join(file.schema_arrow.names)}")
    number = 0
    for batch in file.iter_batches(batch_size=256, columns=["text"]):
        for text in batch.column(0).to_pylist():
            number += 1
            if not isinstance(text, str):
                raise UserError(f"{path}: row {number} has no text", hint="each row has a text in the column 'text'")
            yield _checked(text, f"{path}: row {number}")


FIELDS = ("text", "content", "story")
"""The fields of a row that may hold its text; the first that is there does."""


def _text_of(row: Any, where: str) -> str:
    found = row if isinstance(row, str) else None
    if isinstance(row, dict):
        found = next((row[key] for key in FIELDS if isinstance(row.get(key), str)), None)
    if found is None:
        raise UserError(f"{where} has no field 'text'", hint="each row is a text, or has one in a field 'text'")
    return _checked(found, where)


def _checked(text: str, where: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{where} holds half of a character (a lone surrogate)", hint="leave the row out") from error
    return text
