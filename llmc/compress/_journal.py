"""What a killed compression needs in order to go on: the blocks done, their records, and the live activations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from llmc.compress._manifest import MatrixRecord
from llmc.compress._writer import WORK, disk_errors, save_tensors, write_json
from llmc.errors import UserError


class Journal:
    """The state of one output directory.

    A block is done once its weights and the activations that follow it are on the disk; only then the journal says
    so, by one rename. `fingerprint` is everything that decides the result: another one can't go on here.
    """

    def __init__(self, directory: Path, fingerprint: dict[str, Any]) -> None:
        self._directory, self._work = directory, directory / WORK
        self._path = self._work / "journal.json"
        self.fingerprint = fingerprint
        self.n_done = 0
        self.records: list[MatrixRecord] = []
        self.state: str | None = None
        """A hash of what the next block is called with; None where that isn't known."""
        self._forms: list[int | None] = []
        """How many things the last block gives back for each batch; None: one tensor."""
        self.stored: dict[str, Any] = {}
        """What the format must know of each layer that was written, by checkpoint name."""

    def load(self) -> None:
        """Takes up the state of an earlier run; a `UserError` if that run was another one."""
        if not self._path.exists():
            return
        state = json.loads(self._path.read_text())
        for key, value in self.fingerprint.items():
            if state["fingerprint"].get(key) != json.loads(json.dumps(value)):
                raise UserError(
                    f"{self._directory} holds an unfinished run with another {key}: {state['fingerprint'].get(key)}",
                    hint="repeat that command with --resume, or start anew with --overwrite",
                )
        self.n_done = state["n_done"]
        self.records = [MatrixRecord.model_validate(record) for record in state["records"]]
        self.stored = state["stored"]
        self.state, self._forms = state.get("state"), state.get("forms", [])

    def outputs(self) -> list[Any]:
        """What the last block that is done made of each batch."""
        tensors = load_file(self._work / f"hidden-{self.n_done:05d}.safetensors")
        return [_joined(form, tensors, f"{i:05d}") for i, form in enumerate(self._forms)]

    def start_over(self) -> None:
        """Forgets every block that is done."""
        self.n_done, self.records, self.stored, self.state, self._forms = 0, [], {}, None, []

    def block_done(
        self, records: list[MatrixRecord], stored: dict[str, Any], outputs: list[Any], state: str | None
    ) -> None:
        """Records that one more block is on the disk, and what goes into the next (nothing after the last)."""
        with disk_errors(self._directory):
            self._forms = [None if isinstance(out, Tensor) else len(out) for out in outputs]
            if outputs:
                parts = {k: v for i, out in enumerate(outputs) for k, v in _parts(out, f"{i:05d}").items()}
                save_tensors(self._work / f"hidden-{self.n_done + 1:05d}.safetensors", parts)
            self.state = state
            self.records += records
            self.stored |= stored
            self.n_done += 1
            written = {
                "fingerprint": self.fingerprint,
                "n_done": self.n_done,
                "records": [record.model_dump() for record in self.records],
                "stored": self.stored,
                "state": self.state,
                "forms": self._forms,
            }
            write_json(self._path, written)
            (self._work / f"hidden-{self.n_done - 1:05d}.safetensors").unlink(missing_ok=True)


def _parts(out: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a block's output by name; the rest of it is None, or not kept."""
    if isinstance(out, Tensor):
        return {name: out}
    return {f"{name}.{k}": each for k, each in enumerate(out) if isinstance(each, Tensor)}


def _joined(form: int | None, tensors: dict[str, Tensor], name: str) -> Any:
    return tensors[name] if form is None else tuple(tensors.get(f"{name}.{k}") for k in range(form))
