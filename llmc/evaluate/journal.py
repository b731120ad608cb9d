"""Answers on disk as they come, one line a batch, and the tokens of those under way, so that a killed run goes on."""

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
from llmc.files import replace_text


class Journal:
    """An append-only file of answers by request key.

    A line is one batch and counts only when it is whole: the end of a file that a kill has torn is cut off.
    Numbers keep every bit: JSON's shortest decimal form of a double reads back as that double.
    The tokens of answers that aren't finished lie beside it, in a file that is replaced as a whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Answer] = {}
        self._beside = path.with_name(f"{path.stem}-begun.json")
        self._begun: dict[str, list[int]] = self._read_begun()
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

    def _read_begun(self) -> dict[str, list[int]]:
        try:
            return dict(json.loads(self._beside.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise UserError(f"{self._beside} is damaged ({error})", hint="delete it") from error

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
        replace_text(self._beside, json.dumps(self._begun))

    def remove(self) -> None:
        """Take the files away, when all that they hold is elsewhere."""
        self.path.unlink(missing_ok=True)
        self._beside.unlink(missing_ok=True)

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
