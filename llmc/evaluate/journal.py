"""Answers on disk as they come, one line a batch, so that a killed run goes on where it was."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from llmc.errors import UserError
from llmc.evaluate.task import Answer


class Journal:
    """An append-only file of answers by request key.

    A line is one batch and counts only when it is whole: the end of a file that a kill has torn is cut off.
    Numbers keep every bit: JSON's shortest decimal form of a double reads back as that double.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Answer] = {}
        good = 0
        if path.exists():
            content = path.read_bytes()
            for line in io.BytesIO(content):
                if not line.endswith(b"\n"):
                    break
                good += len(line)
                try:
                    batch = json.loads(line)
                except json.JSONDecodeError as error:
                    raise UserError(
                        f"{path} is damaged before its end ({error})", hint="delete it to ask everything again"
                    ) from error
                self._known |= {key: Answer(**answer) for key, answer in batch.items()}
            if good < len(content):
                with path.open("r+b") as file:
                    file.truncate(good)

    @property
    def known(self) -> Mapping[str, Answer]:
        """Every stored answer by the key of its request."""
        return MappingProxyType(self._known)

    def store(self, batch: Sequence[tuple[str, Answer]]) -> None:
        """Append a batch and wait until it is on the disk."""
        line = json.dumps({key: _compact(answer) for key, answer in batch}, allow_nan=False)
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._known |= dict(batch)


def _compact(answer: Answer) -> dict[str, object]:
    return {name: value for name, value in asdict(answer).items() if value is not None}
