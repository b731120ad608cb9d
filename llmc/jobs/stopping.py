"""What is kept of a command that is interrupted is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmc.commands.rendering.say import say


@contextmanager
def saying(what: Callable[[], str]) -> Iterator[None]:
    """Says on stderr `what` is kept if the work inside is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"llmc: {what()}", err=True)
        raise
