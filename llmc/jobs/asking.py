"""What `llmc eval` can be told: how models are asked, which `llmc run` shares, and the one that is asked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from llmc.errors import UserError, quoted, unknown
from llmc.evaluate.engine.engine import BATCH_TOKENS
from llmc.evaluate.task import Mode, Scale
from llmc.models.packed import Kernels
from llmc.reading.seed import check_seed

SUITES = ("kick", "trust")
AGAINST_DENSE = ("dense-likelihood", "pairwise")
"""Judges that compare with the dense model's answers."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How models are asked: everything but which model, and where the run goes."""

    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    task_folders: tuple[Path, ...] = ()
    scale: Scale = "quick"
    mode: Mode = "fixed"
    data_root: Path | None = None
    backend: str = "engine"
    backend_args: Mapping[str, Any] | None = None
    batch_tokens: int = BATCH_TOKENS
    limit: int | None = None
    seed: int = 0
    scorer: str | None = None
    judges: tuple[str, ...] = ()
    device: str = "auto"
    dtype: str = "auto"
    kernels: Kernels = "exact"
    chat: bool | None = None
    """Whether to use the model's chat template; None: in our own tasks, and not in lm-eval's, as lm-eval does."""
    allow_missing: bool = False
    online: bool = False

    def __post_init__(self) -> None:
        choices = (("scale", get_args(Scale)), ("mode", get_args(Mode)), ("kernels", get_args(Kernels)))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise unknown(name, getattr(self, name), allowed)
        for suite in self.suites:
            if suite not in SUITES:
                raise unknown("suite", suite, SUITES)
        if not self.suites and not self.tasks:
            raise UserError("nothing to evaluate", hint="give --suite kick,trust or --tasks NAME,…")
        for option, value, most in (("--limit", self.limit, 10**12), ("--batch-tokens", self.batch_tokens, 10**7)):
            if value is not None and not 1 <= value <= most:
                raise UserError(f"{option} must be at least 1 and at most {most}, got {quoted(value)}")
        check_seed(self.seed)
        for folder in self.task_folders:
            if not folder.is_dir():
                raise UserError(f"--task-folder {folder} is no directory")
        if self.backend_args and self.backend == "engine":
            raise UserError("--backend-arg has no meaning for the engine", hint="give --backend hf, vllm, … with it")
        if self.kernels != "exact" and self.backend != "engine":
            raise UserError(
                f"--kernels {self.kernels} has no meaning for --backend {self.backend}", hint="leave it out"
            )
        if self.data_root is not None and not self.data_root.is_dir():
            raise UserError(f"--data-root {self.data_root} is no directory")
        if self.scale != "mini" and self.data_root is None and self.suites:
            raise UserError(
                f"scale {self.scale} reads real data, and --data-root isn't given",
                hint="give the folder with the data, or --scale mini",
            )


@dataclass(frozen=True, kw_only=True)
class EvalJob(Asking):
    """Everything that `llmc eval` was told."""

    model: str
    out: Path
    dense_run: Path | None = None
    label: str | None = None
    resume: bool = False
    known_as: str | None = None
    """The model's path as the run tells it, where it is asked in a folder that is going to have another name."""
    command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for judge in self.judges:
            if judge.split("=")[0] in AGAINST_DENSE and self.dense_run is None:
                raise UserError(f"the judge {judge} reads the dense run's answers", hint="give --dense-run RUN")
