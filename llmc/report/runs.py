"""Run directories, read strictly: what an evaluation wrote is checked before anything is concluded from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmc.checksums import FileFacts, not_as_written, seal_holds
from llmc.errors import UserError
from llmc.evaluate.estimate import Range
from llmc.evaluate.task import Channel, Metric
from llmc.report.samples import Samples, load_samples

SCHEMA = 1


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())


class ModelFacts(_Form):
    """Which model answered."""

    id: str
    sha256: str | None = None
    bytes_on_disk: int | None = Field(default=None, gt=0)
    n_parameters: int | None = Field(default=None, gt=0)
    dtype: str | None = None
    label: str | None = None


class TaskFacts(_Form):
    """What makes two runs of a task the same questions, asked and marked the same way."""

    suite: str
    version: int
    mode: str | None = None
    scorer: str | None = None
    prompts_sha256: str | None = None
    items_sha256: str | None = None
    n: int | None = None


class WrittenFile(_Form):
    """One file as it was written."""

    bytes: int
    sha256: str


class Manifest(_Form):
    """RUN/manifest.json. Keys that are not named here are kept and shown, not judged."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=(), extra="allow")

    schema_: Literal[1] = Field(alias="schema")
    complete: bool
    model: ModelFacts
    compression: dict[str, Any] | None = None
    suites: list[str] = []
    tasks: dict[str, TaskFacts]
    mode: str = "fixed"
    scale: str | None = None
    seed: int | None = None
    limit: int | None = None
    backend: str | None = None
    batch_tokens: int | None = None
    template: str | None = None
    tokenizer_sha256: str | None = None
    decoding: dict[str, Any] = {}
    packages: dict[str, Any] = {}
    machine: dict[str, Any] | str | None = None
    seconds: float | None = None
    command: list[str] = []
    files: dict[str, WrittenFile] | None = None
    """The results and samples as they were written; None in runs of before llmc kept checksums."""

    @property
    def written(self) -> dict[str, FileFacts] | None:
        """`files` as `llmc.checksums` reads them."""
        if self.files is None:
            return None
        return {name: FileFacts(each.bytes, each.sha256) for name, each in self.files.items()}


class MetricFacts(_Form):
    """One metric of one task, as its evaluation summed it up."""

    value: float | None
    stderr: float | None = None
    ci95: tuple[float, float] | None = None
    n: int = 0
    direction: Literal["higher", "lower"] = "higher"
    chance: float | None = None
    kind: Literal["proportion", "mean", "gap", "statistic"] = "mean"
    range: Range | None = None
    """What values are possible; runs of before llmc wrote it have none."""
    channel: Channel | None = None

    @property
    def possible(self) -> Range:
        """The least and the greatest value, as far as the run or the kind says; None: open."""
        return Metric(kind=self.kind, range=self.range).possible

    @property
    def share(self) -> float | None:
        """What a value is divided by to become a share: 1, or 100 where it ends there; None on an open scale."""
        least, greatest = self.possible
        if least is None or greatest is None:
            return None
        return 100.0 if greatest == 100.0 else 1.0

    @property
    def largest_change(self) -> float | None:
        """The most that two runs can differ by; None where that has no end. Of a gap the sizes are compared."""
        least, greatest = self.possible
        if least is None or greatest is None:
            return None
        return max(abs(least), abs(greatest)) if self.kind == "gap" else greatest - least


class Panel(_Form):
    """Shares of answers that are no answers."""

    n: int = 0
    empty: float | None = None
    unparsed: float | None = None
    refused: float | None = None
    overflowed: float | None = None
    truncated: float | None = None
    repetitive: float | None = None
    collapsed: float | None = None


PANEL_SHARES = ("empty", "unparsed", "refused", "overflowed", "truncated", "repetitive")


class JudgeFacts(_Form):
    """Which revision of a judge gave its marks."""

    revision: str


class TaskResult(_Form):
    """One task's results."""

    suite: str
    dimension: str | None = None
    version: int
    primary: str
    metrics: dict[str, MetricFacts]
    panel: Panel = Panel()
    judges: dict[str, JudgeFacts] = {}
    """Who gave the metrics called JUDGE.NAME."""
    collapsed: bool = False
    notes: list[str] = []
    options: dict[str, float] | None = None


class DimensionResult(_Form):
    """One trust dimension's published score, 0 to 100."""

    score: float | None
    tasks: list[str] = []
    benign: bool = False
    """Measured beside the dimensions and no part of trust."""


class Results(_Form):
    """RUN/results.json."""

    schema_: Literal[1] = Field(alias="schema")
    tasks: dict[str, TaskResult]
    dimensions: dict[str, DimensionResult] = {}


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
            self._read[task] = load_samples(self.path / "samples" / sample_file_name(task))
        return self._read[task]


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
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise UserError(f"{path} is missing", hint="give the folder that `llmc eval --out` wrote") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} can't be read: {error}") from None
    if isinstance(data, dict) and data.get("schema") not in (None, SCHEMA):
        raise UserError(
            f"{path} has schema {data['schema']!r}, this llmc reads {SCHEMA}", hint="evaluate again, or update llmc"
        )
    if isinstance(data, dict) and seal_holds(data) is False:
        raise UserError(f"{path} has changed since it was written", hint="evaluate again")
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"{path}: {where}: {first['msg'].lower()}", hint="evaluate again, or update llmc") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number that JSON knows")
