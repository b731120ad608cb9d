"""What a killed compression needs in order to go on: the blocks done, the files of each with their checksums.

A line a block, and lines for the shards that are joined; what a line says is believed only as far as its own checksum
and those of the files that it names hold. What doesn't hold is made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from llmc.checked_lines import append_line, read_lines, write_lines
from llmc.checksums import FileFacts, same_file
from llmc.compress.manifest import MatrixRecord
from llmc.compress.walk.writer import PARTS, WORK, disk_errors, remove_shards, save_tensors
from llmc.errors import UserError
from llmc.models.identity import what_changed

LINES = "journal.jsonl"
BEFORE_CHECKSUMS = "journal.json"
"""What versions without checksums kept."""


class _State(NamedTuple):
    """The lines of a journal, by their kind."""

    identity: dict[str, Any]
    blocks: list[dict[str, Any]]
    plan: dict[str, list[str]] | None
    shards: dict[str, FileFacts]
    texts: tuple[str, ...]


class Journal:
    """The state of one output directory.

    A block is done once its weights and the activations that follow it are on the disk; only then the journal says so.
    `fingerprint` is everything that decides the result: another one can't go on here.
    """

    def __init__(self, directory: Path, fingerprint: dict[str, Any]) -> None:
        self._directory, self._work = directory, directory / WORK
        self._path = self._work / LINES
        self.fingerprint: dict[str, Any] = json.loads(json.dumps(fingerprint))
        self.n_done = 0
        self.records: list[MatrixRecord] = []
        self.state: str | None = None
        """A hash of what the next block is called with; None where that isn't known."""
        self._forms: list[int | None] = []
        """How many things the last block gives back for each batch; None: one tensor."""
        self.stored: dict[str, Any] = {}
        """What the format must know of each layer that was written, by checkpoint name."""
        self.prints: dict[str, list[int]] = {}
        """The fingerprint of every tensor of the blocks that are done, by its name in the model."""
        self.parts: dict[str, FileFacts] = {}
        """The parts of the blocks that are done, by their names."""
        self.plan: dict[str, list[str]] | None = None
        """The parts of each shard, once joining has begun."""
        self.shards: dict[str, FileFacts] = {}
        """The shards that are joined."""
        self._n_lines = 0

    def load(self, *, calibrated: bool) -> str | None:
        """Takes up the state of an earlier run, as far as its files are what was written.

        Gives back what has to be made again, None where nothing has. Raises `UserError` if that run was another one.
        `calibrated`: the next block needs what the last one passed on.
        """
        if (self._work / BEFORE_CHECKSUMS).exists():
            raise UserError(
                f"{self._directory} holds an unfinished run of an older llmc, which kept no checksums",
                hint="start anew with --overwrite",
            )
        state, damaged = _read(self._path)
        if state is None:
            self.start_over()
            return "its journal is damaged" if damaged else None
        if (changed := what_changed(state.identity, self.fingerprint)) is not None:
            raise UserError(
                f"{self._directory} holds an unfinished run with another {changed}",
                hint="repeat that command with --resume, or start anew with --overwrite",
            )
        lost = self._take(state, calibrated=calibrated)
        if lost is not None:
            self.start_over()
        elif damaged:
            with disk_errors(self._directory):
                write_lines(self._path, state.texts)
        return lost

    def _take(self, state: _State, *, calibrated: bool) -> str | None:
        """Takes what the lines say; which file of theirs isn't there as it was written, None where all are."""
        shards = {name: facts for name, facts in state.shards.items() if same_file(self._directory / name, facts)}
        joined = {part for shard in shards for part in (state.plan or {})[shard]}
        for place, block in enumerate(state.blocks, 1):
            last = place == len(state.blocks)
            for name, (n_bytes, sha256) in block["files"].items():
                passed_on = name == _hidden(place)
                if name in joined or (passed_on and not (last and calibrated)):
                    continue
                if not same_file(self._work / name, FileFacts(n_bytes, sha256)):
                    return f"{WORK}/{name} is not what was written"
            self._add(block)
        self.plan, self.shards = state.plan, shards
        self._n_lines = len(state.texts)
        return None

    def _add(self, block: Mapping[str, Any]) -> None:
        self.n_done += 1
        self.records += [MatrixRecord.model_validate(record) for record in block["records"]]
        self.stored |= block["stored"]
        self.prints |= block["prints"]
        self.state, self._forms = block["state"], block["forms"]
        self.parts |= {name: FileFacts(*facts) for name, facts in block["files"].items() if name.startswith(PARTS)}

    def outputs(self) -> list[Any]:
        """What the last block that is done made of each batch."""
        tensors = load_file(self._work / _hidden(self.n_done))
        return [_joined(form, tensors, f"{i:05d}") for i, form in enumerate(self._forms)]

    def start_over(self) -> None:
        """Forgets every block that is done, with its files."""
        self.n_done, self.records, self.stored, self.prints, self.state, self._forms = 0, [], {}, {}, None, []
        self.parts, self.plan, self.shards = {}, None, {}
        with disk_errors(self._directory):
            if self._work.is_dir():
                for pattern in ("hidden-*.safetensors", "output-*.safetensors", LINES, f"{PARTS}/*-*.safetensors"):
                    for path in self._work.glob(pattern):
                        path.unlink()
                remove_shards(self._directory)
            (self._work / PARTS).mkdir(parents=True, exist_ok=True)
            write_lines(self._path, [_text("begun", self.fingerprint)])
        self._n_lines = 1

    def block_done(
        self,
        records: list[MatrixRecord],
        stored: dict[str, Any],
        prints: dict[str, list[int]],
        outputs: list[Any],
        state: str | None,
        files: Mapping[str, FileFacts],
    ) -> None:
        """Records that one more block is on the disk, and what goes into the next (nothing after the last).

        `files` are those written for the block, by their names in the working folder.
        """
        with disk_errors(self._directory):
            written = dict(files)
            if outputs:
                parts = {k: v for i, out in enumerate(outputs) for k, v in _parts(out, f"{i:05d}").items()}
                name = _hidden(self.n_done + 1)
                written[name] = save_tensors(self._work / name, parts)
            block = {
                "records": [record.model_dump(mode="json") for record in records],
                "stored": stored,
                "state": state,
                "forms": [None if isinstance(out, Tensor) else len(out) for out in outputs],
                "prints": prints,
                "files": written,
            }
            self._append("block", block)
            self._add(block)
            (self._work / _hidden(self.n_done - 1)).unlink(missing_ok=True)

    def planned(self, plan: dict[str, list[str]]) -> None:
        """Records which parts make which shard."""
        self._append("plan", plan)
        self.plan = plan

    def shard_done(self, name: str, facts: FileFacts) -> None:
        """Records that a shard is joined, so that its parts can go."""
        self._append("shard", {name: facts})
        self.shards[name] = facts

    def _append(self, kind: str, content: object) -> None:
        self._n_lines += 1
        append_line(self._path, _text(kind, content), self._n_lines)


def blocks_kept(directory: Path) -> int:
    """How many finished blocks an unfinished run has noted."""
    state, _ = _read(directory / WORK / LINES)
    return 0 if state is None else len(state.blocks)


def _read(path: Path) -> tuple[_State | None, bool]:
    """What a journal says, None where a line is gone before another; and whether any line was damaged.

    The last line may be torn: a kill does that.
    """
    lines = read_lines(path)
    found: list[tuple[str, Any]] = [next(iter(json.loads(text).items())) for text in lines.texts]
    if not found or lines.gap or found[0][0] != "begun":
        return None, bool(found or lines.n_dropped)
    blocks = [content for kind, content in found if kind == "block"]
    plan = next((content for kind, content in found if kind == "plan"), None)
    shards = {n: FileFacts(*f) for kind, content in found if kind == "shard" for n, f in content.items()}
    return _State(found[0][1], blocks, plan, shards, lines.texts), lines.n_dropped > 0


def _text(kind: str, content: object) -> str:
    return json.dumps({kind: content}, allow_nan=False)


def _hidden(n_done: int) -> str:
    """Where what `n_done` blocks have made of the batches is kept."""
    return f"hidden-{n_done:05d}.safetensors"


def _parts(out: Any, name: str) -> dict[str, Tensor]:
    """The tensors of a block's output by name; the rest of it is None, or not kept."""
    if isinstance(out, Tensor):
        return {name: out}
    return {f"{name}.{k}": each for k, each in enumerate(out) if isinstance(each, Tensor)}


def _joined(form: int | None, tensors: dict[str, Tensor], name: str) -> Any:
    return tensors[name] if form is None else tuple(tensors.get(f"{name}.{k}") for k in range(form))
