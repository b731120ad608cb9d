"""Run directories, read strictly: what an evaluation wrote is checked before anything is concluded from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from llmc.checksums import not_as_written, seal_holds
from llmc.errors import UserError, quoted
from llmc.reading.json_text import json_object
from llmc.runs.forms import Manifest, Results, TaskResult, first_fault
from llmc.runs.samples import Samples, load_samples

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Run:
    """A complete run directory. Samples are read task by task, when they are asked for."""

    path: Path
    manifest: Manifest
    results: Results
    apart: str = ""
    """What tells this run from others of the same label."""

    @cached_property
    def label(self) -> str:
        """What people call this run: the manifest's label, else the folder's name. One line, without control codes."""
        label = self.manifest.model.label or self.path.resolve().name
        return "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in label) + self.apart

    _read: dict[str, Samples] = field(default_factory=dict, repr=False)

    def dimension_of(self, task: str) -> str | None:
        """The trust dimension of a task; None for knowledge, and for the benign score that is measured beside trust."""
        name = self.results.tasks[task].dimension
        found = self.results.dimensions.get(name) if name is not None else None
        return None if found is not None and found.benign else name

    def samples(self, task: str) -> Samples:
        """The items of one task, as columns; read once."""
        if task not in self._read:
            path = self.path / "samples" / sample_file_name(task)
            self._read[task] = load_samples(path)
            _check_marks(path, self._read[task], self.results.tasks[task])
        return self._read[task]


def _check_marks(path: Path, samples: Samples, result: TaskResult) -> None:
    """Raises `UserError` for a mark outside the values that results.json says a share or a mean of marks can have."""
    for name, facts in result.metrics.items():
        least, greatest = facts.possible
        marks = samples.marks.get(name)
        if marks is None or facts.kind not in ("proportion", "mean") or least is None or greatest is None:
            continue
        wrong = np.flatnonzero((marks < least - 1e-9) | (marks > greatest + 1e-9))
        if wrong.size:
            raise UserError(
                f"{path}: item {quoted(samples.ids[wrong[0]])} has the mark {name} {marks[wrong[0]]:g}, outside "
                f"{least:g} to {greatest:g}",
                hint="the file is damaged: evaluate again",
            )


def told_apart(runs: Sequence[Run]) -> list[Run]:
    """The runs, those of one label with their folders behind it; a `UserError` where a folder is given twice."""
    folders = [run.path.resolve() for run in runs]
    for number, folder in enumerate(folders):
        if folder in folders[:number]:
            raise UserError(f"{runs[number].path} is given twice", hint="give each run once")
    labels = [run.label for run in runs]
    return [
        replace(run, apart=f" ({run.path})") if labels.count(label) > 1 else run
        for run, label in zip(runs, labels, strict=True)
    ]


def sample_file_name(task: str) -> str:
    """The file of a task's samples, below `samples/`: `kick/mmlu` lies in a folder `kick`."""
    return f"{task}.jsonl"


def load_run(path: Path) -> Run:
    """The run in a directory; a `UserError` names the file and key where it is not one, or is not complete."""
    if not path.is_dir():
        raise UserError(f"{path} is not a run directory", hint="give the folder that `llmc eval --out` wrote")
    manifest = run_manifest(path)
    if not manifest.complete:
        raise UserError(f"{path} is not complete", hint="finish it with `llmc eval … --resume`")
    wrong = not_as_written(path, manifest.written or {})
    for name in wrong:
        raise UserError(f"{path}: {name} {wrong[name]}", hint="evaluate again, with --resume")
    results = _read(path / "results.json", Results)
    for name, task in results.tasks.items():
        if name not in manifest.tasks:
            raise UserError(f"{path}/results.json: task {name!r} is not in manifest.json")
        if task.primary not in task.metrics:
            raise UserError(f"{path}/results.json: task {name!r} has no metric {task.primary!r}, its primary one")
        if not (path / "samples" / sample_file_name(name)).is_file():
            raise UserError(f"{path}/samples/{sample_file_name(name)} is missing")
    return Run(path=path, manifest=manifest, results=results)


def run_manifest(path: Path) -> Manifest:
    """The manifest in a run directory, complete or not."""
    found: Manifest = _read(path / "manifest.json", Manifest)
    return found


def _read(path: Path, form: type[Any]) -> Any:
    try:
        data = json_object(path, hint="give the folder that `llmc eval --out` wrote")
        if data.get("schema") not in (None, SCHEMA):
            raise UserError(
                f"{path} has schema {quoted(data['schema'])}, this llmc reads {SCHEMA}",
                hint="evaluate again, or update llmc",
            )
        if seal_holds(data) is False:
            raise UserError(f"{path} has changed since it was written", hint="evaluate again")
        return form.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {first_fault(error, 'the file')}", hint="evaluate again, or update llmc") from None
