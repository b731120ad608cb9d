"""How a command is stopped: SIGTERM as Ctrl-C, and what is kept is said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from llmc.commands._say import say


@contextmanager
def saying(what: Callable[[], str]) -> Iterator[None]:
    """Says on stderr `what` is kept if the work inside is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"llmc: {what()}", err=True)
        raise


@contextmanager
def terminable() -> Iterator[Callable[[], bool]]:
    """Inside, SIGTERM raises KeyboardInterrupt as Ctrl-C does; gives a function that tells whether it came."""
    came: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there can a signal be heard
        yield lambda: False
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGTERM, before)
