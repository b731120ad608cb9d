"""Compress, evaluate, compare: the stages of `llmc run`, each of which is passed over when it is done already.

OUT/models/NAME   a compressed checkpoint for each recipe
OUT/runs/dense    the evaluation of the model itself
OUT/runs/NAME     the evaluation of each compressed one
OUT/report        the page, Markdown and JSON
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmc.commands._compress_job import make_job
from llmc.commands._compress_job import run as run_compression
from llmc.commands._eval_job import check as check_evaluation
from llmc.commands._eval_job import check_judges
from llmc.commands._eval_job import run as run_evaluation
from llmc.commands._eval_settings import AGAINST_DENSE, Asking, EvalJob
from llmc.commands._judged import judged
from llmc.commands._progress import progress
from llmc.commands._resolve import resolve
from llmc.compress._job import check as check_compression
from llmc.compress._plan import Job
from llmc.compress._recipe import read_recipe
from llmc.errors import UserError
from llmc.evaluate.run import RunWriter
from llmc.files import check_place
from llmc.models.load import load_tokenizer
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
    asking: Asking
    calibration: str | None = None
    samples: int = 128
    seq_len: int | None = None
    format_name: str | None = None
    policy: Path | None = None
    resume: bool = False
    command: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not names:
            raise UserError("there is nothing to compress with", hint="give --recipe FILE")
        if "dense" in names or len(set(names)) != len(names):
            raise UserError(f"recipes need names of their own, got {', '.join(names)}", hint="rename the files")
        for variant in self.variants:
            if variant.recipe is not None:
                read_recipe(variant.recipe)
        load_policy(self.policy)
        if self.out.exists() and any(self.out.iterdir() if self.out.is_dir() else [self.out]) and not self.resume:
            raise UserError(f"{self.out} exists", hint="go on with --resume, or give another --out")


def perform(pipeline: Pipeline, say: Callable[[str], None]) -> Compared:
    """Runs every stage that is not done yet and writes the report anew; `say` is told each stage's begin."""
    models, runs = pipeline.out / "models", pipeline.out / "runs"
    say("check")
    jobs = check(pipeline)
    for name, job in jobs.items():
        say(f"compress: {name}")
        run_compression(job, dry_run=False)
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


def check(pipeline: Pipeline) -> dict[str, Job]:
    """The compressions by their names, after everything that would stop any stage has been looked for.

    Recipes against the model, formats, calibration text, tasks, data and their hashes, judges, directories, and the
    disk that all stages together need.
    """
    runs = pipeline.out / "runs"
    jobs = {
        variant.name: _job(pipeline, variant, pipeline.out / "models" / variant.name) for variant in pipeline.variants
    }
    needed = sum(check_compression(job) for job in jobs.values())
    answers = check_evaluation(_eval_job(pipeline, pipeline.model, runs / "dense", "dense"))
    # The dense model is not asked to be compared with itself, so its check leaves some judges out.
    check_judges(pipeline.asking.judges, pipeline.asking.backend, load_tokenizer(resolve(pipeline.model)))
    for name in jobs:
        RunWriter(runs / name, resume=True)
    check_place(pipeline.out, needed + answers * (1 + len(jobs)))
    return jobs


def _job(pipeline: Pipeline, variant: Variant, out: Path) -> Job:
    return make_job(
        pipeline.model, out, variant.method, variant.recipe, variant.settings,
        calibration=pipeline.calibration, samples=pipeline.samples, seq_len=pipeline.seq_len,
        seed=pipeline.asking.seed, format_name=pipeline.format_name, device=pipeline.asking.device, dtype="auto",
        resume=out.exists(), verify=True, overwrite=False, max_shard_gb=5.0, command=list(pipeline.command) or None,
    )  # fmt: skip


def _evaluate(pipeline: Pipeline, model: str, out: Path, label: str) -> None:
    with progress(f"evaluating {label}") as tell:
        run_evaluation(_eval_job(pipeline, model, out, label), tell)


def _eval_job(pipeline: Pipeline, model: str, out: Path, label: str) -> EvalJob:
    """The dense model is its own measure: judges that compare with it have nothing to do there."""
    dense = pipeline.out / "runs" / "dense"
    asking = pipeline.asking
    if out == dense:
        asking = replace(asking, judges=tuple(judge for judge in asking.judges if not _compares(judge)))
    return EvalJob(
        **vars(asking), model=model, out=out, label=label, resume=out.exists(), command=pipeline.command,
        dense_run=dense if out != dense and asking.judges else None,
    )  # fmt: skip


def _compares(judge: str) -> bool:
    return judge.partition("=")[0] in AGAINST_DENSE
