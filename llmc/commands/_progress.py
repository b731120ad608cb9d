"""Progress with the time left, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Report(Protocol):
    """Takes (units done, units in all, what is being done)."""

    def __call__(self, done: int, total: int, doing: str) -> None: ...


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """A bar on stderr that a worker moves; one plain line a change where stderr is not a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        said: set[int] = set()

        def tell(done: int, total: int, doing: str) -> None:
            if done not in said and (done in {0, total} or done % max(1, total // 10) == 0):
                said.add(done)
                console.print(f"{title}: {done}/{total} {doing}", highlight=False)

        yield tell
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None, doing="")

        def move(done: int, total: int, doing: str) -> None:
            bar.update(task, completed=done, total=total, doing=doing)

        yield move


def table_console() -> Console:
    """Where tables are printed: as wide as the terminal, and wide enough for any row where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
