"""Rows of text files: JSON Lines and CSV tables, with the number of each line and without a byte order mark."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmc.errors import UserError

MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some editors put before UTF-8 text."""


def whole_text(path: Path) -> str:
    """The file's text. Raises `UserError` where it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Every line that isn't blank, with its number from 1.

    Only a line feed ends a line: U+2028, U+0085 and their like are characters of the text, in JSON too.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = (line.removeprefix(MARK) if number == 1 else line).decode("utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}:{number} is not UTF-8 text", hint="save it as UTF-8") from error
            if text.strip():
                yield number, text


def json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The value of every line that isn't blank, with its number. Raises `UserError` naming a line without one."""
    for number, line in text_lines(path):
        try:
            yield number, json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}:{number} is not JSON ({error})", hint="each line is one JSON value") from error


def table_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, each with the number of the line that it ends on.

    Raises `UserError` naming the line of a row with fewer or more fields than the header.
    """
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}:{reader.line_num} has another number of fields than the header",
                        hint="is it a CSV file with commas?",
                    )
                yield reader.line_num, row
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 text", hint="save it as UTF-8") from error
        except csv.Error as error:
            raise UserError(f"{path}:{reader.line_num} is not CSV ({error})") from error
