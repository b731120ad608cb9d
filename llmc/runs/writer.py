"""The run directory: the only thing that passes between evaluating and reporting."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmc.checksums import SEAL, FileFacts, described, not_as_written, same_file, seal_holds, sealed
from llmc.errors import UserError
from llmc.evaluate.journal import Journal
from llmc.files import check_place, replace_text
from llmc.folders.foreign import refuse_foreign
from llmc.folders.marker import Kind, Marker, job_id, new_marker
from llmc.folders.output import Output, State, look, refuse_writer
from llmc.folders.place import check_out
from llmc.harmless import json_text
from llmc.models.identity import what_changed
from llmc.reading.json_text import json_object
from llmc.reading.rows import json_rows
from llmc.runs.forms import KeptManifest, Results, check_sample, first_fault
from llmc.runs.identity import identity_of, seal_of

logger = logging.getLogger(__name__)

KIND: Kind = "eval"
SCHEMA = 1
UNREAD = "the run directory has no manifest that can be read"
ADDED = ("model_files", "task_folders", "dense_run", "backend_args", "dtype")
"""What manifests of before llmc kept checksums don't say."""
FILES = ("manifest.json", "results.json", "journal*", "samples/**/*.jsonl", "bench.json")
"""What a run writes in its folder, as patterns."""


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
        self.results = _read(self.path / "results.json", f"{path} has lost its results", Results)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks, sorted."""
        return tuple(sorted(self.manifest["tasks"]))

    def samples(self, task: str) -> Iterator[dict[str, Any]]:
        """The lines of a task, one an item, sorted by id."""
        self._check(samples_path(Path(), task).as_posix())
        path = samples_path(self.path, task)
        for number, line in json_rows(path, halves=True):
            try:
                yield check_sample(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}", hint="the file is damaged: evaluate again") from error

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
        self._resume = resume
        check_out(self.path, {})
        state, marker = look(self.path, KIND)
        self._admit(state, marker)
        refuse_writer(self.path)
        self.resumed = (self.path / "manifest.json").exists()
        check_place(self.path)
        self._journal: Journal | None = None
        self._seal = ""
        self._tasks: set[str] = set()
        self._output: Output | None = None

    def _admit(self, state: State, marker: Marker | None) -> None:
        """Raises `UserError` where a run can't be written to the folder, or gone on with there."""
        if state is State.NEW:
            return
        if state is State.UNMARKED and not (self.path / "manifest.json").exists():
            raise UserError(f"{self.path} exists and is no run directory", hint="give another --out")
        if not self._resume:
            raise UserError(f"{self.path} holds a run already", hint="add --resume to go on, or give another --out")
        if state is State.UNMARKED and not _read(self.path / "manifest.json", UNREAD, KeptManifest).get("complete"):
            raise UserError(
                f"{self.path} holds a run that an llmc left half-made that did not mark its folders yet",
                hint="finish it with that version, or give another --out",
            )
        if state is State.BEGUN and marker is not None:
            refuse_foreign(self.path, marker, option="--resume")

    @cached_property
    def complete(self) -> bool:
        """Whether the directory holds a finished run already, with all its files as they were written."""
        return self.resumed and self._whole()

    def _whole(self) -> bool:
        if not (self.path / "manifest.json").exists():
            return False
        before = self._before()
        wrong = not_as_written(self.path, written_files(before)) if before.get("complete") else {}
        for name in wrong:
            logger.warning("%s/%s %s: everything is asked again", self.path, name, wrong[name])
        return bool(before.get("complete")) and not wrong

    @property
    def journal(self) -> Journal:
        """The answers so far."""
        if self._journal is None:
            self._journal = Journal(self.path / Journal.NAME, self._seal)
        return self._journal

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Record what this run is; where an earlier one is continued, both must be the same.

        From here to `finish` or `close` no other process can write in the folder.
        """
        self.check(manifest)
        self._seal = seal_of(json.loads(_dump(manifest)))
        marker = new_marker(KIND, job_id(json.loads(_dump(identity_of(manifest)))), writes=FILES)
        self._output = Output(self.path, marker, self._admit, resume=self._resume).__enter__()
        if self._output.marker.finished:
            if self._whole():
                self.close()
                raise UserError(
                    f"{self.path} was finished by another process meanwhile", hint="add --resume to read it"
                )
            self._output.reopen()
        write_json(self.path / "manifest.json", sealed({**manifest, "schema": SCHEMA, "complete": False}))

    def _before(self) -> dict[str, Any]:
        """The manifest of the run that is continued."""
        return _read_manifest(self.path, UNREAD)

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
        Journal.remove_from(self.path)
        if self._output is not None:
            self._output.finish(untold=["manifest.json"])
        self.close()

    def settle(self) -> None:
        """Tidies what a kill has left of a run that is complete: its journal, and a marker that says it is begun."""
        if look(self.path, KIND)[0] is State.BEGUN:
            with Output(self.path, new_marker(KIND, "", writes=FILES), self._admit, resume=True) as output:
                Journal.remove_from(self.path)
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
    return json_text(content, indent=indent, sort_keys=indent is not None)


def written_files(manifest: Mapping[str, Any]) -> dict[str, FileFacts]:
    """What a finished run's manifest says of its files, by name; nothing in runs of before llmc kept checksums."""
    return {
        name: FileFacts(int(each["bytes"]), str(each["sha256"])) for name, each in manifest.get("files", {}).items()
    }


def _read_manifest(run: Path, otherwise: str) -> dict[str, Any]:
    manifest = _read(run / "manifest.json", otherwise, KeptManifest)
    if seal_holds(manifest) is False:
        raise UserError(
            f"{run / 'manifest.json'} has changed since it was written", hint="evaluate again, with another --out"
        )
    return manifest


def _read(path: Path, otherwise: str, form: type[KeptManifest | Results]) -> dict[str, Any]:
    try:
        content = json_object(path)
        if content.get("schema") == SCHEMA:  # else the schema is what is wrong, and is said
            form.model_validate(content)
    except UserError as error:
        raise UserError(otherwise, hint=error.problem) from error
    except ValidationError as error:
        raise UserError(otherwise, hint=f"{path}: {first_fault(error, 'the file')}") from error
    return content
