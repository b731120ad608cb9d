"""The terminal that tables are printed on: every text on it is one harmless line, and none of it is markup."""

from __future__ import annotations

import sys
from typing import IO, Any

import rich.console
from rich.text import Text

from llmc.harmless import line
from llmc.streams import real


class Console(rich.console.Console):
    """rich's, which makes each `str` (printed, in a cell, a title) harmless and reads no markup, emoji or number in it.

    Styles are given as `styled` texts, or as the `style` of a print, a column or a row.
    """

    def __init__(
        self, *, err: bool = False, file: IO[str] | None = None, width: int | None = None, no_color: bool | None = None
    ) -> None:
        super().__init__(
            file=file or real(sys.stderr if err else sys.stdout), width=width, no_color=no_color,
            markup=False, emoji=False, highlight=False,
        )  # fmt: skip

    def render_str(self, text: str, **how: Any) -> Text:
        """What rich turns every `str` into before it measures or prints it."""
        return super().render_str(line(text), **{**how, "markup": False, "emoji": False})


def styled(text: object, style: str) -> Text:
    """A text in one of rich's styles."""
    return Text(line(text), style=style)


def joined(*parts: str | Text) -> Text:
    """Texts beside each other, each in its own style."""
    return Text.assemble(*(part if isinstance(part, Text) else line(part) for part in parts))
