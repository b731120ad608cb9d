"""Compress, evaluate, compare: the stages of `llmc run`, each of which is passed over when it is done already.

OUT/models/NAME   a compressed checkpoint for each recipe
OUT/runs/dense    the evaluation of the model itself
OUT/runs/NAME     the evaluation of each compressed one
OUT/report        the page, Markdown and JSON
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llmc.commands._compress_job import make_job
from llmc.commands._compress_job import run as run_compression
from llmc.commands._eval_job import EvalJob
from llmc.commands._eval_job import run as run_evaluation
from llmc.commands._judged import judged
from llmc.commands._progress import progress
from llmc.compress._recipe import read_recipe
from llmc.errors import UserError
from llmc.evaluate.task import Mode, Scale
from llmc.report.judge import Compared
from llmc.report.page import PageOptions
from llmc.report.policy_file import load_policy
from llmc.report.write import write_report


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One compressed model that the pipeline makes: its name, and what makes it."""

    name: str
    recipe: Path | None = None
    method: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """Everything that `llmc run` was told."""

    model: str
    out: Path
    variants: Sequence[Variant]
    suites: tuple[str, ...]
    scale: Scale = "mini"
    mode: Mode = "fixed"
    data_root: Path | None = None
    limit: int | None = None
    seed: int = 0
    calibration: str | None = None
    samples: int = 128
    seq_len: int | None = None
    format_name: str | None = None
    device: str = "auto"
    policy: Path | None = None
    resume: bool = False
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not names:
            raise UserError("there is nothing to compress with", hint="give --recipe FILE")
        if "dense" in names or len(set(names)) != len(names):
            raise UserError(f"recipes need names of their own, got {', '.join(names)}", hint="rename the files")
        # A mistake in the last recipe, in what to evaluate or in the policy is said before the first one's work.
        for variant in self.variants:
            if variant.recipe is not None:
                read_recipe(variant.recipe)
        _eval_job(self, self.model, self.out / "runs" / "dense", "dense")
        load_policy(self.policy)
        if self.out.exists() and any(self.out.iterdir() if self.out.is_dir() else [self.out]) and not self.resume:
            raise UserError(f"{self.out} exists", hint="go on with --resume, or give another --out")


def perform(pipeline: Pipeline, say: Callable[[str], None]) -> Compared:
    """Runs every stage that is not done yet and writes the report anew; `say` is told each stage's begin."""
    models, runs = pipeline.out / "models", pipeline.out / "runs"
    for variant in pipeline.variants:
        say(f"compress: {variant.name}")
        _compress(pipeline, variant, models / variant.name)
    say("evaluate: dense")
    _evaluate(pipeline, pipeline.model, runs / "dense", "dense")
    for variant in pipeline.variants:
        say(f"evaluate: {variant.name}")
        _evaluate(pipeline, str(models / variant.name), runs / variant.name, variant.name)
    say("compare")
    compared = judged(
        runs / "dense", [runs / v.name for v in pipeline.variants], pipeline.policy, command=pipeline.command
    )
    write_report(compared, pipeline.out / "report", PageOptions(), overwrite=True)
    return compared


def _compress(pipeline: Pipeline, variant: Variant, out: Path) -> None:
    job = make_job(
        pipeline.model, out, variant.method, variant.recipe, variant.settings,
        calibration=pipeline.calibration, samples=pipeline.samples, seq_len=pipeline.seq_len, seed=pipeline.seed,
        format_name=pipeline.format_name, device=pipeline.device, dtype="auto", resume=out.exists(), overwrite=False,
        max_shard_gb=5.0, command=list(pipeline.command) or None,
    )  # fmt: skip
    run_compression(job, dry_run=False)


def _evaluate(pipeline: Pipeline, model: str, out: Path, label: str) -> None:
    with progress(f"evaluating {label}") as tell:
        run_evaluation(_eval_job(pipeline, model, out, label), tell)


def _eval_job(pipeline: Pipeline, model: str, out: Path, label: str) -> EvalJob:
    return EvalJob(
        model=model, out=out, suites=pipeline.suites, scale=pipeline.scale, mode=pipeline.mode,
        data_root=pipeline.data_root, limit=pipeline.limit, seed=pipeline.seed, label=label, device=pipeline.device,
        resume=out.exists(), command=pipeline.command,
    )  # fmt: skip
