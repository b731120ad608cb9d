"""The ways in which a command's own words leave it: lines, JSON, and text that its own function has made ready."""

from __future__ import annotations

import logging
import sys
from typing import Any

import typer

from llmc.harmless import json_text, line
from llmc.streams import real


def say(*lines: object, err: bool = False, colour: str | None = None) -> None:
    """Prints each on a line of its own, whatever text it holds; an empty line without any."""
    for each in lines or ("",):
        typer.secho(line(each), file=real(sys.stderr if err else sys.stdout), fg=colour)


def say_json(data: object, *, indent: int | None = None, sort_keys: bool = False) -> None:
    """Prints `data` as JSON, in ASCII: it is valid in every encoding."""
    typer.echo(json_text(data, indent=indent, sort_keys=sort_keys, ascii_only=True), file=real(sys.stdout))


def say_ready(text: str) -> None:
    """Prints text that the function for its place has made harmless: GitHub's workflow commands."""
    typer.echo(text, file=real(sys.stdout))


class LogLines(logging.StreamHandler[Any]):
    """Log records on stderr, a line each."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(_OneLine("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Writes to the stderr of this moment: a progress bar may have put itself before it."""
        self.stream = real(sys.stderr)
        super().emit(record)


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:
        return line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return "\n".join(line(each) for each in super().formatException(ei).split("\n"))
