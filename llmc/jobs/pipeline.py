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

from llmc.commands.rendering.progress import progress
from llmc.compress.plan import Job
from llmc.compress.recipe import read_recipe
from llmc.compress.run import check as check_compression
from llmc.errors import UserError
from llmc.files import check_place
from llmc.folders.foreign import refuse_foreign
from llmc.folders.marker import Kind, Marker, job_id, new_marker
from llmc.folders.output import Output, State, look, refuse_writer
from llmc.folders.place import check_out
from llmc.jobs.asking import AGAINST_DENSE, Asking, EvalJob
from llmc.jobs.compare import judged
from llmc.jobs.compress import make_job, text_file
from llmc.jobs.compress import run as run_compression
from llmc.jobs.evaluate import check as check_evaluation
from llmc.jobs.evaluate import check_judges
from llmc.jobs.evaluate import run as run_evaluation
from llmc.jobs.resolve import resolve
from llmc.judging.judge import Compared
from llmc.judging.policy_file import load_policy
from llmc.models.load import load_tokenizer
from llmc.report.page import PageOptions
from llmc.report.write import write_report
from llmc.runs.writer import RunWriter


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
    overwrite: bool = False
    kind: Kind = "run"
    final: Path | None = None
    """Where the result will be, if that isn't `out`."""
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
        check_out(
            self.out,
            {"the model": resolve(self.model), "the data": self.asking.data_root, "the policy": self.policy,
             "the calibration text": text_file(self.calibration),
             **{f"the recipe {v.recipe}": v.recipe for v in self.variants},
             **{f"the tasks {folder}": folder for folder in self.asking.task_folders}},
        )  # fmt: skip
        self.admit(*look(self.out, self.kind))
        refuse_writer(self.out)

    def admit(self, state: State, marker: Marker | None) -> None:
        """Raises `UserError` where the pipeline does not take its folder as it is."""
        if state is State.NEW:
            return
        if not self.resume and not self.overwrite:
            raise UserError(f"{self.out} exists", hint="go on with --resume, or give another --out")
        if marker is None:
            made = f"{self.out} was not made by llmc {self.kind}, or by one that did not mark its folders yet"
            raise UserError(made, hint="choose another --out")
        refuse_foreign(
            self.out, marker, option="--overwrite" if self.overwrite else "--resume", damaged=not self.overwrite
        )

    @property
    def place(self) -> Path:
        """Where the result is once everything is done."""
        return self.final or self.out


def perform(pipeline: Pipeline, say: Callable[[str], None]) -> Compared:
    """Runs every stage that is not done yet and writes the report anew; `say` is told each stage's begin.

    With `overwrite` all of it is made beside the earlier result, and takes its place at the end.
    """
    say("check")
    check(pipeline)
    job = [pipeline.model, *(variant.name for variant in pipeline.variants)]
    marker = new_marker(pipeline.kind, job_id(job), folders=("models/*", "runs/*", "report"))
    with Output(pipeline.out, marker, pipeline.admit, resume=pipeline.resume, overwrite=pipeline.overwrite) as output:
        if output.folder == pipeline.out:
            compared = _stages(pipeline, say)
        else:
            beside = replace(pipeline, out=output.folder, final=pipeline.out, resume=True, overwrite=False)
            compared = _stages(beside, say)
        output.finish()
    return compared


def _stages(pipeline: Pipeline, say: Callable[[str], None]) -> Compared:
    models, runs = pipeline.out / "models", pipeline.out / "runs"
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
        known_as=str(pipeline.place / Path(model).relative_to(pipeline.out)) if out != dense else None,
        dense_run=dense if out != dense and asking.judges else None,
    )  # fmt: skip


def _compares(judge: str) -> bool:
    return judge.partition("=")[0] in AGAINST_DENSE
