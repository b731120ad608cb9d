"""The run directory: the only thing that passes between evaluating and reporting."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from llmc.checksums import SEAL, FileFacts, described, not_as_written, same_file, seal_holds, sealed
from llmc.errors import UserError
from llmc.evaluate.identity import identity_of, seal_of
from llmc.evaluate.journal import Journal
from llmc.files import check_place, replace_text
from llmc.models.identity import what_changed

logger = logging.getLogger(__name__)

SCHEMA = 1
ADDED = ("model_files", "task_folders", "dense_run", "backend_args", "dtype")
"""What manifests of before llmc kept checksums don't say."""


class Run:
    """A finished run, read from its directory. Samples are read when they are asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = _read_manifest(self.path, f"{path} is not a run directory")
        if self.manifest.get("schema") != SCHEMA:
            raise UserError(f"{path} has schema {self.manifest.get('schema')}, this version reads {SCHEMA}")
        if not self.manifest.get("complete"):
            raise UserError(f"{path} is unfinished", hint="run the same command with --resume")
        wrong = not_as_written(self.path, written_files(self.manifest), contents=False)
        for name in wrong:
            raise UserError(f"{path} is damaged: {name} {wrong[name]}", hint="evaluate again, with --resume")
        self._check("results.json")
        self.results = _read(self.path / "results.json", f"{path} has lost its results")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks, sorted."""
        return tuple(sorted(self.manifest["tasks"]))

    def samples(self, task: str) -> Iterator[dict[str, Any]]:
        """The lines of a task, one an item, sorted by id."""
        self._check(samples_path(Path(), task).as_posix())
        with samples_path(self.path, task).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield json.loads(line)
                except ValueError as error:
                    where = f"{samples_path(self.path, task)}:{number}"
                    raise UserError(f"{where}: {error}", hint="the file is damaged: evaluate again") from error

    def _check(self, name: str) -> None:
        """Raises `UserError` for a file that has changed since the manifest was written."""
        facts = written_files(self.manifest).get(name)
        if facts is not None and not same_file(self.path / name, facts):
            raise UserError(
                f"{self.path / name} has changed since it was written", hint="evaluate again, with --resume"
            )


class RunWriter:
    """A run under way. What it writes counts only after `finish`, which puts the mark of completeness last.

    Nothing is written before `begin`.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.path = Path(path)
        self.resumed = False
        manifest = self.path / "manifest.json"
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{path} is a file", hint="give another --out")
        # A kill within the first write leaves a part of it, which is nobody's.
        if self.path.exists() and any(each.suffix != ".tmp" for each in self.path.iterdir()):
            if not manifest.exists():
                raise UserError(f"{path} exists and is no run directory", hint="give another --out")
            if not resume:
                raise UserError(f"{path} holds a run already", hint="add --resume to go on, or give another --out")
            self.resumed = True
        check_place(self.path)
        self._journal: Journal | None = None
        self._seal = ""
        self._tasks: set[str] = set()

    @cached_property
    def complete(self) -> bool:
        """Whether the directory holds a finished run already, with all its files as they were written."""
        if not self.resumed:
            return False
        before = self._before()
        if not before.get("complete"):
            return False
        wrong = not_as_written(self.path, written_files(before))
        for name in wrong:
            logger.warning("%s/%s %s: everything is asked again", self.path, name, wrong[name])
        return not wrong

    @property
    def journal(self) -> Journal:
        """The answers so far."""
        if self._journal is None:
            self._journal = Journal(self.path / "journal.jsonl", self._seal)
        return self._journal

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Record what this run is; where an earlier one is continued, both must be the same."""
        self.check(manifest)
        self._seal = seal_of(json.loads(_dump(manifest)))
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "manifest.json", sealed({**manifest, "schema": SCHEMA, "complete": False}))

    def _before(self) -> dict[str, Any]:
        """The manifest of the run that is continued."""
        return _read_manifest(self.path, f"{self.path} has an unreadable manifest")

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Raises `UserError` if the directory holds the run of another model, other tasks or other settings."""
        if self.resumed:
            before = self._before()
            if SEAL not in before and not before.get("complete"):
                raise UserError(
                    f"{self.path} was begun by an older llmc, which kept no checksums", hint="give another --out"
                )
            now = json.loads(_dump(manifest))
            # What lm-eval's tasks asked is known only after they have run; their names are compared instead.
            before["tasks"] = {
                name: task
                for name, task in before.get("tasks", {}).items()
                if name not in (now.get("lm_eval_tasks") or ())
            }
            done = bool(before.get("complete"))
            old, new = identity_of(before, finished=done), identity_of(now, finished=done)
            if done:  # a run of before llmc wrote these down
                new |= {name: None for name in ADDED if name not in before}
            if (changed := what_changed(old, new)) is not None:
                raise UserError(
                    f"{self.path} was begun with another {changed}",
                    hint="repeat the command it was begun with, or give another --out",
                )

    def write_samples(self, task: str, lines: Iterable[Mapping[str, Any]]) -> None:
        """The lines of a task, sorted by id."""
        path = samples_path(self.path, task)
        path.parent.mkdir(parents=True, exist_ok=True)
        ordered = sorted(lines, key=lambda line: str(line["id"]))
        replace_text(path, "".join(_dump(line, indent=None) + "\n" for line in ordered))
        self._tasks.add(task)

    def finish(self, manifest: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        """Write the results, mark the run as complete, and drop the journal, which the samples replace."""
        write_json(self.path / "results.json", {**results, "schema": SCHEMA})
        names = ["results.json", *(samples_path(Path(), task).as_posix() for task in self._tasks)]
        whole = {**manifest, "schema": SCHEMA, "complete": True, "files": described(self.path, names)}
        write_json(self.path / "manifest.json", sealed(whole))
        self.journal.remove()


def samples_path(run: Path, task: str) -> Path:
    """Where the lines of a task are: a slash in its name is a folder."""
    return run / "samples" / f"{task}.jsonl"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one step: either the old file is there or the new one."""
    replace_text(path, _dump(content) + "\n")


def _dump(content: Mapping[str, Any], indent: int | None = 1) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent, sort_keys=indent is not None)


def written_files(manifest: Mapping[str, Any]) -> dict[str, FileFacts]:
    """What a finished run's manifest says of its files, by name; nothing in runs of before llmc kept checksums."""
    return {
        name: FileFacts(int(each["bytes"]), str(each["sha256"])) for name, each in manifest.get("files", {}).items()
    }


def _read_manifest(run: Path, otherwise: str) -> dict[str, Any]:
    manifest = _read(run / "manifest.json", otherwise)
    if seal_holds(manifest) is False:
        raise UserError(
            f"{run / 'manifest.json'} has changed since it was written", hint="evaluate again, with another --out"
        )
    return manifest


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
