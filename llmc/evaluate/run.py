"""The run directory: the only thing that passes between evaluating and reporting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmc.errors import UserError
from llmc.evaluate.journal import Journal
from llmc.evaluate.run_forms import KeptManifest, Results, check_sample, first_fault
from llmc.files import check_place, replace_text
from llmc.reading.json_text import json_object
from llmc.reading.rows import json_rows

SCHEMA = 1
UNREAD = "unreadable manifest"
IDENTITY = (
    "model", "suites", "lm_eval_tasks", "judges", "mode", "scale", "seed", "limit", "backend", "kernels",
    "batch_tokens", "template", "chat", "tokenizer_sha256", "decoding", "tasks",
)  # fmt: skip
"""What must be equal for a run to go on where another one stopped, what a user has chosen first."""


class Run:
    """A finished run, read from its directory. Samples are read when they are asked for."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = _read(self.path / "manifest.json", f"{path} is not a run directory", KeptManifest)
        if self.manifest.get("schema") != SCHEMA:
            raise UserError(f"{path} has schema {self.manifest.get('schema')}, this version reads {SCHEMA}")
        if not self.manifest.get("complete"):
            raise UserError(f"{path} is unfinished", hint="run the same command with --resume")
        self.results = _read(self.path / "results.json", f"{path} has lost its results", Results)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks, sorted."""
        return tuple(sorted(self.manifest["tasks"]))

    def samples(self, task: str) -> Iterator[dict[str, Any]]:
        """The lines of a task, one an item, sorted by id."""
        path = samples_path(self.path, task)
        for number, line in json_rows(path, halves=True):
            try:
                yield check_sample(line)
            except ValueError as error:
                raise UserError(f"{path}:{number}: {error}", hint="the file is damaged: evaluate again") from error


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

    @property
    def complete(self) -> bool:
        """Whether the directory holds a finished run already."""
        return self.resumed and bool(_read(self.path / "manifest.json", UNREAD, KeptManifest).get("complete"))

    @property
    def journal(self) -> Journal:
        """The answers so far."""
        if self._journal is None:
            self._journal = Journal(self.path / "journal.jsonl")
        return self._journal

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Record what this run is; where an earlier one is continued, both must be the same."""
        self.check(manifest)
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "manifest.json", {**manifest, "schema": SCHEMA, "complete": False})

    def check(self, manifest: Mapping[str, Any]) -> None:
        """Raises `UserError` if the directory holds the run of another model, other tasks or other settings."""
        if self.resumed:
            before = _read(self.path / "manifest.json", UNREAD, KeptManifest)
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


def samples_path(run: Path, task: str) -> Path:
    """Where the lines of a task are: a slash in its name is a folder."""
    return run / "samples" / f"{task}.jsonl"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON in one step: either the old file is there or the new one."""
    replace_text(path, _dump(content) + "\n")


def _dump(content: Mapping[str, Any], indent: int | None = 1) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=indent, sort_keys=indent is not None)


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


def _short(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('id')}, sha256 {str(value['sha256'])[:12]}"
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
