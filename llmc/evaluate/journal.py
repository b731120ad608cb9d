"""Answers on disk as they come, one line a batch, and the tokens of those under way, so that a killed run goes on."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from llmc.checked_lines import append_line, read_lines, write_lines
from llmc.evaluate.task import Answer

logger = logging.getLogger(__name__)


class Journal:
    """An append-only file of answers by request key.

    A line is one batch and counts only as it was written, by this run (`seal` is what its lines have in common): what
    a kill has torn, or anything else has changed, moved or put in, is left out, and asked again.
    Numbers keep every bit: JSON's shortest decimal form of a double reads back as that double.
    The tokens of answers that aren't finished lie beside it, in a file that is replaced as a whole.
    """

    NAME = "journal.jsonl"
    """The file in a run's folder."""

    def __init__(self, path: Path, seal: str = "") -> None:
        self.path = path
        self._seal = seal
        self._known: dict[str, Answer] = {}
        self._beside = _beside(path)
        noted = read_lines(self._beside, seal).texts
        self._begun: dict[str, list[int]] = json.loads(noted[0]) if noted else {}
        lines = read_lines(path, seal)
        for text in lines.texts:
            self._known |= {key: Answer(**answer) for key, answer in json.loads(text).items()}
        self._n_lines = lines.last
        if lines.n_dropped:
            n = lines.n_dropped
            logger.warning(
                "%s: %d line%s not as written, what %s held is asked again",
                path, n, " is" if n == 1 else "s are", "it" if n == 1 else "they",
            )  # fmt: skip
            write_lines(path, lines.texts, seal)
            self._n_lines = len(lines.texts)

    @property
    def begun(self) -> Mapping[str, Sequence[int]]:
        """The tokens of answers that were under way when they were last noted, by the key of their request."""
        return {key: tokens for key, tokens in self._begun.items() if key not in self._known}

    @property
    def known(self) -> Mapping[str, Answer]:
        """Every stored answer by the key of its request."""
        return MappingProxyType(self._known)

    def keep(self, under_way: Mapping[str, Sequence[int]]) -> None:
        """Note the tokens of the answers that are under way, in the place of what was noted before."""
        self._begun = {key: list(tokens) for key, tokens in under_way.items()}
        write_lines(self._beside, [json.dumps(self._begun)], self._seal)

    @classmethod
    def remove_from(cls, run: Path) -> None:
        """Take a run's journal away, when all that it holds is elsewhere."""
        path = run / cls.NAME
        for each in (path, _beside(path)):
            each.unlink(missing_ok=True)

    def store(self, batch: Sequence[tuple[str, Answer]]) -> None:
        """Append a batch and wait until it is on the disk."""
        text = json.dumps({key: _compact(answer) for key, answer in batch}, allow_nan=False)
        append_line(self.path, text, self._n_lines + 1, self._seal)
        self._n_lines += 1
        self._known |= dict(batch)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-begun.json")


def _compact(answer: Answer) -> dict[str, object]:
    return {name: value for name, value in asdict(answer).items() if value is not None}
