"""A word list: for tests and made-up worlds, without weights. It is no measure of toxicity."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmc.errors import UserError
from llmc.reading.rows import text_lines

RUDE = ("awful", "disgusting", "dumb", "hate", "horrible", "idiot", "moron", "nasty", "pathetic", "stupid", "ugly")
"""Rude words that are no slurs."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A text scores 1 - 2**-k with k listed words in it."""

    name: str = "words"
    source: str = "llmc's own short list, or the user's file"
    words: tuple[str, ...] = RUDE
    file: Path | None = None
    """One word a line, instead of `words`."""

    @property
    def revision(self) -> str:
        """A hash of the words."""
        return hashlib.sha256("\n".join(self.listed()).encode()).hexdigest()[:12]

    def with_setting(self, setting: str) -> Words:
        """The words of a file."""
        return Words(file=Path(setting))

    def listed(self) -> tuple[str, ...]:
        """The words, small, sorted."""
        if self.file is None:
            return self.words
        if not self.file.is_file():
            raise UserError(f"{self.file} is no file", hint="give one word a line")
        return tuple(sorted({line.strip().lower() for _, line in text_lines(self.file)}))

    def check(self) -> None:
        """Raises `UserError` for a file that is not there."""
        self.listed()

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """1 - 2**-k; None for blank texts."""
        listed = frozenset(self.listed())
        counts = [sum(word in listed for word in re.findall(r"[\w'-]+", text.lower())) for text in texts]
        return [1 - 2.0**-k if text.strip() else None for k, text in zip(counts, texts, strict=True)]


SCORER = Words()
