"""Calibration tokens from a text, JSONL, CSV or Parquet file, the made-up world, or a pinned dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmc.data.framing import frame_of
from llmc.data.hub_text import PINNED, hub_text
from llmc.errors import UserError, unknown
from llmc.reading.bounded import open_plain
from llmc.reading.parquet_file import parquet_rows
from llmc.reading.rows import Tally, json_rows, table_rows, whole_text
from llmc.reading.seed import check_seed

MOST_TOKENS = 10**9
"""Tokens of a calibration at most."""
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
    if samples * seq_len > MOST_TOKENS:
        raise UserError(
            f"--samples {samples} of --seq-len {seq_len} ask for more tokens than fit a machine", hint="use fewer"
        )
    check_seed(seed)
    tally = Tally(Path(source))
    documents, revision = _documents(source, tally)
    lead, stream = _stream(tokenizer, documents, wanted=8 * samples * seq_len)
    tally.check()
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
    return Calibration(windows[order].contiguous(), source, revision(), warnings)


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
    _documents(source, Tally(Path(source)))


def _documents(source: str, tally: Tally) -> tuple[Iterator[str], Callable[[], str | None]]:
    """The texts, and what tells which they are, worked out when it is asked for: of a file its sha256."""
    if source in PINNED:
        return hub_text(source), lambda: PINNED[source].revision
    if source == "mini":
        from llmc.data.world.text import calibration_text

        return iter(calibration_text(seed=0).split("\n\n")), lambda: None
    path = Path(source)
    if path.exists():
        open_plain(path, hint="give a .txt, .jsonl, .csv or .parquet file").close()
        return _file(path, tally), lambda: _sha256(path)
    if path.suffix or "/" in source:
        raise UserError(f"calibration file {source} does not exist", hint="give a .txt, .jsonl, .csv or .parquet file")
    raise unknown("calibration text", source, ["mini", *PINNED])


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _file(path: Path, tally: Tally) -> Iterator[str]:
    """The documents of a file: lines of JSONL, rows of Parquet or CSV, or one document of a text file.

    Rows without a text are left out and counted in `tally`.
    """
    if path.suffix in {".jsonl", ".json"}:
        rows: Iterator[tuple[str, Any]] = ((f"{path}:{number}", row) for number, row in json_rows(path, tally))
    elif path.suffix == ".csv":
        rows = ((f"{path}:{number}", row) for number, row in table_rows(path, tally))
    elif path.suffix == ".parquet":
        rows = _parquet(path, tally)
    else:
        yield whole_text(path)
        return
    for where, row in rows:
        try:
            text = _text_of(row, where)
        except UserError as error:
            tally.leave_out(error)
            continue
        yield text


def _parquet(path: Path, tally: Tally) -> Iterator[tuple[str, Any]]:
    for number, row in parquet_rows(path, {"text": "text"}):
        tally.n += 1
        if isinstance(row["text"], str):
            yield f"{path}: row {number}", row["text"]
        else:
            said = UserError(f"{path}: row {number} has no text", hint="each row has a text in the column 'text'")
            tally.leave_out(said)


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
