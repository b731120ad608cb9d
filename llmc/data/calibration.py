"""Calibration tokens from a text, JSONL or Parquet file, the made-up world, or a pinned dataset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmc.data.framing import frame_of
from llmc.data.hub_text import PINNED, hub_text
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
        raise UserError(f"calibration file {source} does not exist", hint="give a .txt, .jsonl or .parquet file")
    raise unknown("calibration text", source, ["mini", *PINNED])


def _file(path: Path) -> Iterator[str]:
    """The documents of a file: lines of JSONL, rows of Parquet, or one document of a text file."""
    try:
        if path.suffix in {".jsonl", ".json"}:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                if line.strip():
                    yield _text_of(json.loads(line), f"{path}:{number}")
        elif path.suffix == ".parquet":
            import pyarrow.parquet

            file = pyarrow.parquet.ParquetFile(path)
            if "text" not in file.schema_arrow.names:
                raise UserError(
                    f"{path} has no column 'text'", hint=f"its columns: {', '.join(file.schema_arrow.names)}"
                )
            for batch in file.iter_batches(batch_size=256, columns=["text"]):
                yield from (text or "" for text in batch.column(0).to_pylist())
        else:
            yield path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text", hint="give a .txt, .jsonl or .parquet file") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{path} can't be read: {error}", hint="give a .txt, .jsonl or .parquet file") from error


def _text_of(row: Any, where: str) -> str:
    if isinstance(row, str):
        return row
    for key in ("text", "content", "story"):
        if isinstance(row, dict) and isinstance(row.get(key), str):
            return str(row[key])
    raise UserError(f"{where} has no field 'text'", hint="each line is a JSON object with a text")
