"""The run directory: the only thing that passes between evaluating and reporting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmc.errors import UserError
from llmc.evaluate.journal import Journal
from llmc.files import check_place, replace_text
from llmc.folders.foreign import refuse_foreign
from llmc.folders.marker import Kind, Marker, job_id, new_marker
from llmc.folders.output import Output, State, look, refuse_writer
from llmc.folders.place import check_out

KIND: Kind = "eval"
SCHEMA = 1
FILES = ("manifest.json", "results.json", "journal*", "samples/**/*.jsonl", "bench.json")
"""What a run writes in its folder, as patterns."""
IDENTITY = (
    "model", "suites", "lm_eval_tasks", "judges", "mode", "scale", "seed", "limit", "backend", "kernels",
    "batch_tokens", "template", "chat", "tokenizer_sha256", "decoding", "tasks",
)  # fmt: skip
"""What must be equal for a run to go on where another one stopped, what a user has chosen first."""


class Run:
    """A finished run, read from its directory. Samples are read when they are asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = _read(self.path / "manifest.json", f"{path} is not a run directory")
        if self.manifest.get("schema") != SCHEMA:
            raise UserError(f"{path} has schema {self.manifest.get('schema')}, this version reads {SCHEMA}")
        if not self.manifest.get("complete"):
            raise UserError(f"{path} is unfinished", hint="run the same command with --resume")
        self.results = _read(self.path / "results.json", f"{path} has lost its results")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks, sorted."""
        return tuple(sorted(self.manifest["tasks"]))

    def samples(self, task: str) -> Iterator[dict[str, Any]]:
        """The lines of a task, one an item, sorted by id."""
        with samples_path(self.path, task).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    where = f"{samples_path(self.path, task)}:{number}"
                    raise UserError(f"{where}: {error}", hint="the file is damaged: evaluate again") from error


class RunWriter:
    """A run under way. What it writes counts only after `finish`, which puts the mark of completeness last.

    Nothing is written before `begin`.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self._resume = resume
        check_out(self.path, {})
        state, marker = look(self.path, KIND)
        self._admit(state, marker)
        refuse_writer(self.path)
        self.resumed = (self.path / "manifest.json").exists()
        check_place(self.path)
        self._journal: Journal | None = None
        self._output: Output | None = None

    def _admit(self, state: State, marker: Marker | None) -> None:
        """Raises `UserError` where a run can't be written to the folder, or gone on with there."""
        if state is State.NEW:
            return
        if state is State.UNMARKED and not (self.path / "manifest.json").exists():
            raise UserError(f"{self.path} exists and is no run directory", hint="give another --out")
        if not self._resume:
            raise UserError(f"{self.path} holds a run already", hint="add --resume to go on, or give another --out")
        if state is State.UNMARKED and not _read(self.path / "manifest.json", "unreadable manifest").get("complete"):
            raise UserError(
                f"{self.path} holds a run that an llmc left half-made that did not mark its folders yet",
                hint="finish it with that version, or give another --out",
            )
        if state is State.BEGUN and marker is not None:
            refuse_foreign(self.path, marker, option="--resume")

    @property
    def complete(self) -> bool:
        """Whether the directory holds a finished run already."""
        return self.resumed and bool(_read(self.path / "manifest.json", "unreadable manifest").get("complete"))

    @property
    def journal(self) -> Journal:
        """The answers so far."""
        if self._journal is None:
            self._journal = Journal(self.path / "journal.jsonl")
        return self._journal

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Record what this run is; where an earlier one is continued, both must be the same.

        From here to `finish` or `close` no other process can write in the folder.
        """
        self.check(manifest)
        same = {name: value for name, value in manifest.items() if name in IDENTITY}
        output = Output(self.path, new_marker(KIND, job_id(same), writes=FILES), self._admit, resume=self._resume)
        self._output = output.__enter__()
        if self._output.marker.finished:
            self.close()
            raise UserError(f"{self.path} was finished by another process meanwhile", hint="add --resume to read it")
        write_json(self.path / "manifest.json", {**manifest, "schema": SCHEMA, "complete": False})

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Raises `UserError` if the directory holds the run of another model, other tasks or other settings."""
        if self.resumed:
            before = _read(self.path / "manifest.json", "unreadable manifest")
            now = json.loads(_dump(manifest))
            # What lm-eval's tasks asked is known only after they have run; their names are compared instead.
            before["tasks"] = {
                name: task
                for name, task in before.get("tasks", {}).items()
                if name not in (now.get("lm_eval_tasks") or ())
            }
            for name in IDENTITY:
                if before.get(name) != now.get(name):
                    raise UserError(
                        f"{self.path} was begun with another {name} ({_short(before.get(name))}, "
                        f"not {_short(now.get(name))})",
                        hint="repeat the command it was begun with, or give another --out",
                    )

    def write_samples(self, task: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """The lines of a task, sorted by id."""
        path = samples_path(self.path, task)
        path.parent.mkdir(parents=True, exist_ok=True)
        ordered = sorted(lines, key=lambda line: str(line["id"]))
        replace_text(path, "".join(_dump(line, indent=None) + "\n" for line in ordered))

    def finish(self, manifest: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Write the results, mark the run as complete, and drop the journal, which the samples replace."""
        write_json(self.path / "results.json", {**results, "schema": SCHEMA})
        write_json(self.path / "manifest.json", {**manifest, "schema": SCHEMA, "complete": True})
        self.journal.remove()
        if self._output is not None:
            self._output.finish(untold=["manifest.json"])
        self.close()

    def settle(self) -> None:
        """Tidies what a kill has left of a run that is complete: its journal, and a marker that says it is begun."""
        if look(self.path, KIND)[0] is State.BEGUN:
            with Output(self.path, new_marker(KIND, "", writes=FILES), self._admit, resume=True) as output:
                self.journal.remove()
                output.finish(untold=["manifest.json"])

    def close(self) -> None:
        """Let others write in the folder; what is there stays for `resume`."""
        if self._output is not None:
            self._output.close()


def samples_path(run: Path, task: str) -> Path:
    """Where the lines of a task are: a slash in its name is a folder."""
    return run / "samples" / f"{task}.jsonl"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one step: either the old file is there or the new one."""
    replace_text(path, _dump(content) + "\n")


def _dump(content: Mapping[str, Any], indent: int | None = 1) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent, sort_keys=indent is not None)


def _read(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(otherwise, hint=f"{path} is missing") from None
    except ValueError as error:
        raise UserError(otherwise, hint=f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(otherwise, hint=f"{path} holds no JSON object")
    return content


def _short(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('id')}, sha256 {str(value['sha256'])[:12]}"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
