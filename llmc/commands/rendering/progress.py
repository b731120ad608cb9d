"""Progress with the time left, on stderr."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from llmc.harmless import line
from llmc.report.console import Console
from llmc.streams import harmless_streams

_QUIET_SECONDS = 5.0


class Report(Protocol):
    """Takes (units done, units in all, what is being done)."""

    def __call__(self, done: int, total: int, doing: str) -> None: ...


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A bar on stderr that a worker moves; plain lines where stderr is not a terminal."""
    console = Console(err=True)
    if not console.is_terminal:
        yield _Lines(title, console)
        return
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[doing]}", markup=False),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # While the bar is there it stands before stderr, and prints what is written there above itself.
    with Progress(*columns, console=console, transient=True) as bar, harmless_streams():
        task = bar.add_task(line(title), total=None, doing="")

        def move(done: int, total: int, doing: str) -> None:
            bar.update(task, completed=done, total=total, doing=line(doing))

        yield move


class _Lines:
    """Plain lines for a log: one at the first of each kind of work, then one a tenth of it, none within 5 s."""

    def __init__(self, title: str, console: Console) -> None:
        self._title, self._console = title, console
        self._seen: set[str] = set()
        self._tenth, self._last = 0, 0.0

    def __call__(self, done: int, total: int, doing: str) -> None:
        tenth, now = 10 * done // max(1, total), time.monotonic()
        new = doing not in self._seen
        if not new and (tenth <= self._tenth or now - self._last < _QUIET_SECONDS):
            return
        self._seen.add(doing)
        self._tenth, self._last = tenth, now
        self._console.print(f"{self._title}: {done}/{total} {doing}", soft_wrap=True)


def table_console() -> Console:
    """Where tables are printed: as wide as the terminal or COLUMNS, and wide enough for any row where neither is."""
    console = Console()
    asked = os.environ.get("COLUMNS", "")
    return console if console.is_terminal or (asked.isdigit() and int(asked) > 0) else Console(width=200)
