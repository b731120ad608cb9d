"""Rows of text files, JSON Lines and CSV tables, with the number of each line; malformed ones are counted and named."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmc.errors import UserError, quoted
from llmc.reading.bounded import MB, open_plain, read_text
from llmc.reading.json_text import Malformed, json_value

logger = logging.getLogger(__name__)

MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some editors put before UTF-8 text."""
LONGEST_LINE = 100 * MB
LONGEST_TEXT = 200 * MB
TOLERATED = 0.01
"""The largest share of a file's rows that may be malformed; they are left out, and that is said."""
HOPELESS = 1000
"""So many malformed rows, and more than half of all so far, and the rest of the file isn't read."""


@dataclass
class Tally:
    """The rows of one file so far: how many, and how many of them are left out because they are malformed."""

    path: Path
    n: int = 0
    malformed: list[UserError] = field(default_factory=list)
    """What is wrong with each, the first hundred."""
    n_malformed: int = 0

    def leave_out(self, error: UserError) -> None:
        """Counts one row as malformed. Raises `UserError` at once where the file is of another kind altogether."""
        self.n_malformed += 1
        if len(self.malformed) < 100:
            self.malformed.append(error)
        if self.n_malformed > HOPELESS and 2 * self.n_malformed > self.n:
            self.check()

    def check(self) -> None:
        """Raises `UserError` where more than `TOLERATED` of the rows read are malformed; warns where any is."""
        if not self.n_malformed:
            return
        first = self.malformed[0]
        if self.n_malformed > TOLERATED * self.n:
            others = f"; {self.n_malformed:,} of {self.n:,} rows are malformed" if self.n_malformed > 1 else ""
            raise UserError(f"{first.problem}{others}", hint=first.hint)
        logger.warning(
            "%s: %d of %d rows are malformed and left out, the first: %s", self.path, self.n_malformed, self.n,
            first.problem,
        )  # fmt: skip


def whole_text(path: Path) -> str:
    """The file's text. Raises `UserError` where it is not UTF-8, or so long that nobody could cut it into tokens."""
    return read_text(path, at_most=LONGEST_TEXT, mark=True, hint="save it as UTF-8 text in files of at most 200 MB")


def text_lines(path: Path, tally: Tally | None = None) -> Iterator[tuple[int, str]]:
    """Every line that isn't blank, with its number from 1.

    Only a line feed ends a line: U+2028, U+0085 and their like are characters of the text, in JSON too. Raises
    `UserError` for a line that is not UTF-8; with a `tally` such lines are left out and counted there.
    """
    for number, line in byte_lines(path):
        if not line.strip():
            continue
        if tally is not None:
            tally.n += 1
        try:
            text = (line.removeprefix(MARK) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError:
            _malformed(UserError(f"{path}:{number} is not UTF-8 text", hint="save it as UTF-8"), tally)
            continue
        if text.strip():
            yield number, text


def json_rows(path: Path, tally: Tally | None = None, *, halves: bool = False) -> Iterator[tuple[int, Any]]:
    """The value of every line that isn't blank, with its number; `halves` as for `json_value`.

    Raises `UserError` naming a line without one; with a `tally` such lines are left out and counted there.
    """
    for number, line in text_lines(path, tally):
        try:
            value = json_value(line, halves=halves)
        except Malformed as error:
            half = "surrogate" in str(error)
            said = f"holds half of a character ({error})" if half else f"is not JSON ({error})"
            way = "leave the row out" if half else "each line is one JSON value"
            _malformed(UserError(f"{path}:{number} {said}", hint=way), tally)
            continue
        yield number, value


def table_rows(
    path: Path, tally: Tally | None = None, *, columns: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, each with the number of the line that it ends on.

    Raises `UserError` where the header lacks one of `columns`, and naming the line of a row with fewer or more fields
    than the header; with a `tally` such rows are left out and counted there.
    """
    reader = csv.reader(_decoded(path), strict=True)  # else a quote that nobody closes swallows the rest
    rows = _csv_rows(path, reader)
    header = next(rows, None)
    if header is None:
        return
    if len(set(header)) < len(header):
        raise UserError(f"{path} has the column {quoted(_twice(header))} twice", hint="give each column its own name")
    if missing := [name for name in columns if name not in header]:
        raise UserError(f"{path} has no column {missing[0]!r}", hint=f"its columns: {', '.join(header)}")
    for row in rows:
        if not row:
            continue
        if tally is not None:
            tally.n += 1
        if len(row) != len(header):
            said = f"{path}:{reader.line_num} has another number of fields than the header"
            _malformed(UserError(said, hint="is it a CSV file with commas?"), tally)
            continue
        yield reader.line_num, dict(zip(header, row, strict=True))


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file without a header, each with the number of the line that it ends on."""
    reader = csv.reader(_decoded(path), strict=True)
    for row in _csv_rows(path, reader):
        yield reader.line_num, row


def _csv_rows(path: Path, reader: Any) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num} is not CSV ({error})") from error


def _decoded(path: Path) -> Iterator[str]:
    for number, line in byte_lines(path):
        try:
            yield (line.removeprefix(MARK) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text (line {number})", hint="save it as UTF-8") from error


def byte_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every line as it stands, its end included, with its number from 1; a `UserError` for one without an end."""
    with open_plain(path) as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise UserError(f"{path}:{number} has more than {LONGEST_LINE:,} bytes", hint="is it a text file?")
            yield number, line


def _twice(names: Sequence[str]) -> str:
    return next(name for place, name in enumerate(names) if name in names[:place])


def _malformed(error: UserError, tally: Tally | None) -> None:
    if tally is None:
        raise error
    tally.leave_out(error)
