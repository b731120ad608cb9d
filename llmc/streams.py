"""Standard output and error as libraries see them: what they print reaches a terminal made harmless."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llmc.harmless import block


class Harmless:
    """A text stream over `inner` that shows controls as escapes; everything else is `inner`'s."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def write(self, text: str) -> int:
        """Writes the text, made harmless; its own length, as a stream's caller expects."""
        self.inner.write(block(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes each."""
        for each in lines:
            self.write(each)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@contextmanager
def harmless_streams() -> Iterator[None]:
    """Inside, whatever is printed by code that knows nothing of `llmc.harmless` goes through it."""
    before = sys.stdout, sys.stderr
    here: tuple[Any, Any] = Harmless(sys.stdout), Harmless(sys.stderr)
    sys.stdout, sys.stderr = here
    try:
        yield
    finally:
        if sys.stdout is here[0]:  # else somebody else has put another in its place, and takes it away again
            sys.stdout = before[0]
        if sys.stderr is here[1]:
            sys.stderr = before[1]


def real(stream: Any) -> Any:
    """The stream itself, for what is harmless already and may hold colours of ours."""
    return real(stream.inner) if isinstance(stream, Harmless) else stream
