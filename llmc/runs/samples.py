"""The items of one task of a run, as columns; texts stay on disk and are read for the items that are shown."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmc.errors import UserError, quoted
from llmc.reading.json_text import json_value
from llmc.reading.rows import byte_lines
from llmc.runs.forms import check_sample

FLAGS = ("empty", "unparsed", "refused", "overflowed", "truncated", "repetitive")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Columns over the items of one task, in the file's order. What an item lacks is NaN or -1, in here only."""

    path: Path
    ids: list[str]
    rows: dict[str, int]
    """Item id to row."""
    clusters: list[str]
    """The item's cluster; its own id where it has none."""
    strata: list[str]
    """The item's setting; empty where it has none."""
    prompts: list[str | None]
    """sha256 of the prompt."""
    marks: dict[str, Floats]
    flags: dict[str, NDArray[np.bool_]]
    choices: NDArray[np.int64]
    """The option chosen; -1 where the item has no options."""
    loglikelihoods: list[tuple[float, ...] | None]
    kl: Floats
    margin: Floats
    """How sure the model was: probability of its best option less that of the second."""
    answers: NDArray[np.int64]
    """A hash of the answer text, so that a change of answer shows."""
    n_chars: NDArray[np.int64]
    """Length of the answer."""
    generated: NDArray[np.bool_]
    """The answer is free text."""
    not_finite: int
    """Items whose log-likelihoods were null or absent although they had options."""
    offsets: NDArray[np.int64]

    def texts(self, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The whole lines of these rows, in the order of `rows`."""
        with self.path.open("rb") as file:
            for row in rows:
                file.seek(int(self.offsets[row]))
                yield json.loads(file.readline())


class _Columns:
    """Grows one list a column while a file is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ids: list[str] = []
        self.rows: dict[str, int] = {}
        self.clusters: list[str] = []
        self.strata: list[str] = []
        self.prompts: list[str | None] = []
        self.marks: dict[str, list[float]] = {}
        self.flags: dict[str, list[bool]] = {flag: [] for flag in FLAGS}
        self.choices: list[int] = []
        self.loglikelihoods: list[tuple[float, ...] | None] = []
        self.kl: list[float] = []
        self.margin: list[float] = []
        self.answers: list[int] = []
        self.n_chars: list[int] = []
        self.generated: list[bool] = []
        self.not_finite = 0
        self.offsets: list[int] = []

    def add(self, line: dict[str, Any], offset: int) -> None:
        row = len(self.ids)
        name = check_sample(line)["id"]
        if "marks" not in line:
            raise ValueError("an item without 'marks'")
        if name in self.rows:
            raise ValueError(f"id {quoted(name)} comes twice")
        self.ids.append(name)
        self.rows[name] = row
        self.clusters.append(line.get("cluster") or name)
        self.strata.append(str(line.get("stratum") or ""))
        self.prompts.append(line.get("prompt_sha256"))
        self._add_marks(line["marks"], row)
        flags = line.get("flags") or {}
        for flag, column in self.flags.items():
            column.append(bool(flags.get(flag, False)))
        choice = line.get("choice")
        self.choices.append(-1 if choice is None else int(choice))
        self._add_likelihoods(line)
        answer = line.get("answer")
        text = "\n".join(answer) if isinstance(answer, list) else (answer or "")
        self.answers.append(int.from_bytes(hashlib.blake2b(_bytes(text), digest_size=7).digest(), "big"))
        self.n_chars.append(len(text))
        self.generated.append((line.get("request") or {}).get("kind") == "generate_until")
        self.offsets.append(offset)

    def _add_marks(self, marks: dict[str, Any], row: int) -> None:
        for metric, mark in marks.items():
            column = self.marks.setdefault(metric, [math.nan] * row)
            column.append(math.nan if mark is None else float(mark))
        for column in self.marks.values():
            if len(column) == row:
                column.append(math.nan)

    def _add_likelihoods(self, line: dict[str, Any]) -> None:
        found = line.get("loglikelihoods")
        if found is not None and any(value is None for value in found):
            self.not_finite += 1
            found = None
        self.loglikelihoods.append(None if found is None else tuple(float(value) for value in found))
        self.kl.append(_number(line.get("kl")))
        margin = _number(line.get("margin"))
        self.margin.append(_margin(self.loglikelihoods[-1]) if math.isnan(margin) else margin)

    def finish(self) -> Samples:
        return Samples(
            path=self.path,
            ids=self.ids,
            rows=self.rows,
            clusters=self.clusters,
            strata=self.strata,
            prompts=self.prompts,
            marks={metric: np.asarray(column, dtype=np.float64) for metric, column in self.marks.items()},
            flags={flag: np.asarray(column, dtype=np.bool_) for flag, column in self.flags.items()},
            choices=np.asarray(self.choices, dtype=np.int64),
            loglikelihoods=self.loglikelihoods,
            kl=np.asarray(self.kl, dtype=np.float64),
            margin=np.asarray(self.margin, dtype=np.float64),
            answers=np.asarray(self.answers, dtype=np.int64),
            n_chars=np.asarray(self.n_chars, dtype=np.int64),
            generated=np.asarray(self.generated, dtype=np.bool_),
            not_finite=self.not_finite,
            offsets=np.asarray(self.offsets, dtype=np.int64),
        )


def load_samples(path: Path) -> Samples:
    """The columns of a samples file; a `UserError` names the file and line of what is wrong."""
    columns = _Columns(path)
    offset = 0
    for n_line, raw in byte_lines(path):
        if raw.strip():
            try:
                columns.add(json_value(raw.decode("utf-8"), halves=True), offset)
            except ValueError as error:
                raise UserError(f"{path}:{n_line}: {error}", hint="the file is damaged: evaluate again") from None
        offset += len(raw)
    return columns.finish()


def _margin(loglikelihoods: tuple[float, ...] | None) -> float:
    if loglikelihoods is None or len(loglikelihoods) < 2:
        return math.nan
    ordered = sorted(loglikelihoods, reverse=True)
    total = math.fsum(math.exp(value - ordered[0]) for value in ordered)
    return (1.0 - math.exp(ordered[1] - ordered[0])) / total


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
