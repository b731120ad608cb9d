"""What `llmc eval` does: find the tasks, ask the model, write the run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from llmc.catalog import catalog, pick
from llmc.commands._own_tasks import own_tasks
from llmc.commands._resolve import resolve
from llmc.data.framing import frame_of
from llmc.errors import UserError, unknown
from llmc.evaluate import foreign
from llmc.evaluate.backend import THOUGHT_TOKENS, Backend, lm_eval_backend
from llmc.evaluate.chat import Chat, template_of
from llmc.evaluate.encoding import Encoder
from llmc.evaluate.endings import end_texts, end_tokens
from llmc.evaluate.engine import BATCH_TOKENS, Engine
from llmc.evaluate.estimate import Estimate
from llmc.evaluate.judge import Judge, judged
from llmc.evaluate.provenance import compression_of, machine, model_facts, packages, tokenizer_sha256
from llmc.evaluate.run import Run, RunWriter
from llmc.evaluate.runner import Asked, described, gather, perform
from llmc.evaluate.task import Mode, Scale, Task, TaskContext
from llmc.kernels.fast_linear import computes_bfloat16_natively
from llmc.models.load import load_model, load_tokenizer, offline, pick_device, quiet
from llmc.models.packed import Kernels

SUITES = ("kick", "trust")
DECODING = {
    "default": "greedy, no repetition penalty; what a task asks for stands in its samples",
    "thought_tokens": THOUGHT_TOKENS,
}
Report = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class EvalJob:
    """Everything that `llmc eval` was told."""

    model: str
    out: Path
    suites: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    task_folders: tuple[Path, ...] = ()
    scale: Scale = "quick"
    mode: Mode = "fixed"
    data_root: Path | None = None
    backend: str = "engine"
    backend_args: Mapping[str, str] | None = None
    batch_tokens: int = BATCH_TOKENS
    limit: int | None = None
    seed: int = 0
    scorer: str | None = None
    judges: tuple[str, ...] = ()
    dense_run: Path | None = None
    label: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    kernels: Kernels = "exact"
    chat: bool | None = None
    """Whether to use the model's chat template; None: in our own tasks, and not in lm-eval's, as lm-eval does."""
    allow_missing: bool = False
    online: bool = False
    resume: bool = False
    command: Sequence[str] | None = None

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
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit must be at least 1, got {self.limit}")
        for folder in self.task_folders:
            if not folder.is_dir():
                raise UserError(f"--task-folder {folder} is no directory")
        if self.backend_args and self.backend == "engine":
            raise UserError("--backend-arg has no meaning for the engine", hint="give --backend hf, vllm, … with it")
        if self.kernels != "exact" and self.backend != "engine":
            raise UserError(
                f"--kernels {self.kernels} has no meaning for --backend {self.backend}", hint="leave it out"
            )
        for judge in self.judges:
            if judge.split("=")[0] in ("dense-likelihood", "pairwise") and self.dense_run is None:
                raise UserError(f"the judge {judge} reads the dense run's answers", hint="give --dense-run RUN")
        if self.data_root is not None and not self.data_root.is_dir():
            raise UserError(f"--data-root {self.data_root} is no directory")
        if self.scale != "mini" and self.data_root is None and self.suites:
            raise UserError(
                f"scale {self.scale} reads real data, and --data-root isn't given",
                hint="give the folder with the data, or --scale mini",
            )


def run(job: EvalJob, report: Report) -> dict[str, Any]:
    """Results of the job, which are then also in its run directory; a finished run is read, not made again."""
    started = time.monotonic()
    quiet()
    if not job.online:
        offline()
    chosen, dimensions, others = _chosen(job)
    _refuse_idle_options(job, chosen, others)
    writer = RunWriter(job.out, resume=job.resume)
    judges = [_judge(text) for text in job.judges]
    dense = Run(job.dense_run) if job.dense_run is not None else None
    directory = resolve(job.model)
    tokenizer = load_tokenizer(directory)
    device = pick_device(job.device)
    # Before anything is asked: a misspelt name must not cost an evening's answers to the tasks before it.
    manager = foreign.find(others, job.task_folders, _short(own_tasks())) if others and not writer.complete else None
    backend, model = _backend(job, directory, tokenizer, device)
    ctx = _context(job, backend, tokenizer)
    asked, skipped = _gathered(chosen, ctx, allow_missing=job.allow_missing, bare_tokens=backend.scores_tokens)
    manifest = {
        "model": model_facts(directory, model, job.label or _hub_name(job.model)),
        "compression": compression_of(directory),
        "suites": sorted({*job.suites, *({foreign.SUITE} if others else set())}),
        "tasks": {each.task.name: described(each, ctx) for each in asked},
        "skipped": skipped,
        "mode": job.mode,
        "scale": job.scale,
        "seed": job.seed,
        "limit": job.limit,
        "backend": job.backend,
        "kernels": job.kernels if job.backend == "engine" else None,
        "batch_tokens": job.batch_tokens if job.backend == "engine" else None,
        **_chat_facts(job, ctx, tokenizer, foreign_too=bool(others)),
        "tokenizer_sha256": tokenizer_sha256(tokenizer),
        "decoding": DECODING,
        "lm_eval_tasks": list(others),
        "judges": {judge.name: judge.revision() for judge in judges},
        "packages": packages(),
        "machine": machine(device),
        "seconds": None,
        "command": list(job.command or []),
    }
    if writer.complete:
        writer.check(manifest)
        return Run(job.out).results
    writer.begin(manifest)
    results: dict[str, Any] = {"tasks": {}, "dimensions": {}}
    for each in asked:
        name = each.task.name
        part, lines = perform(each, backend, writer.journal, report)
        known = {line["id"]: line for line in dense.samples(name)} if dense and name in dense.tasks else {}
        for judge in judges:
            part, lines = judged(judge, part, lines, known, backend)
        writer.write_samples(name, lines)
        results["tasks"][name] = part
    if others:
        _add_foreign(job, backend, others, manager, writer, manifest, results)
    results["dimensions"] = {each.name: dimension_result(each, results["tasks"]) for each in dimensions}
    writer.finish({**manifest, "seconds": round(time.monotonic() - started, 3)}, results)
    return results


def _chosen(job: EvalJob) -> tuple[list[Task], list[Any], list[str]]:
    """Our tasks, trust dimensions, and the names that are lm-eval's."""
    kick, trust = catalog("llmc.kick_bench", "TASK"), catalog("llmc.trust", "DIMENSION")
    chosen: dict[str, Task] = {}
    dimensions = list(trust.values()) if "trust" in job.suites else []
    if "kick" in job.suites:
        chosen |= kick
    for dimension in dimensions:
        chosen |= {task.name: task for task in dimension.tasks}
    others = []
    own = own_tasks()
    short = _short(own)
    for name in job.tasks:
        if (full := short.get(name, name)) in own:
            chosen[full] = own[full]
        elif name.startswith(tuple(f"{suite}/" for suite in SUITES)):
            pick(own, name, "task")
        else:
            others.append(name)
    return list(chosen.values()), dimensions, others


def _short(own: Iterable[str]) -> dict[str, str]:
    """Names of our tasks without their suite, each with the whole one."""
    return {name.split("/", 1)[-1]: name for name in own}


def _refuse_idle_options(job: EvalJob, chosen: Sequence[Task], others: Sequence[str]) -> None:
    """Raises `UserError` for an option that nothing chosen reads: silence would pass for what was asked."""
    ours, trust = "a task of kick or trust", "a task of the suite trust"
    idle = (
        ("--scorer", job.scorer is not None and not any(each.suite == "trust" for each in chosen), trust),
        ("--mode", job.mode != "fixed" and not chosen, ours),
        ("--task-folder", bool(job.task_folders) and not others, "a task of lm-eval's"),
        ("--dense-run", job.dense_run is not None and not job.judges, "--judge"),
        ("--batch-tokens", job.batch_tokens != BATCH_TOKENS and job.backend != "engine", "--backend engine"),
    )
    for option, given, reader in idle:
        if given:
            raise UserError(f"{option} has no meaning without {reader}", hint="leave it out")


def _hub_name(model: str) -> str | None:
    """What a model of the hub is called: its cache's folder has the name of a revision. None for a folder."""
    return model.split("/")[-1] if "/" in model and not Path(model).exists() else None


def _judge(text: str) -> Judge:
    """The judge called NAME in NAME or NAME=ARGUMENT."""
    name, equals, argument = text.partition("=")
    made: Judge = pick(catalog("llmc.evaluate.judges", "JUDGE"), name, "judge")(argument if equals else None)
    return made


def _backend(job: EvalJob, directory: Path, tokenizer: Any, device: str) -> tuple[Backend, Any]:
    import torch

    dtype = _dtype(job, device)
    chosen = None if dtype is None else getattr(torch, dtype, None)
    if dtype is not None and not (isinstance(chosen, torch.dtype) and chosen.is_floating_point and chosen.itemsize > 1):
        raise unknown("dtype", dtype, ("auto", "float64", "float32", "bfloat16", "float16"))
    if job.backend == "engine":
        model = load_model(directory, dtype=chosen, device=device, kernels=job.kernels)
        return Engine(model, tokenizer, batch_tokens=job.batch_tokens), model
    arguments: dict[str, Any] = {"pretrained": str(directory), "dtype": dtype or "auto", **(job.backend_args or {})}
    if job.backend == "hf":
        arguments = {"device": device, "batch_size": 8, **arguments}
    if frame_of(tokenizer).tail:
        raise UserError(
            f"the tokenizer puts an end token behind every text, and --backend {job.backend} would leave it there",
            hint="use --backend engine, which takes it off",
        )
    return lm_eval_backend(job.backend, arguments, _end_texts(directory, tokenizer)), None


def _end_texts(directory: Path, tokenizer: Any) -> tuple[str, ...]:
    """How the end tokens that the checkpoint names look, for a backend that leaves them in its answers."""
    from transformers import GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(directory, local_files_only=True)
    except OSError:
        named = None
    return end_texts(tokenizer, end_tokens(tokenizer, named))


def _dtype(job: EvalJob, device: str) -> str | None:
    """The name of the dtype that the model computes in; None for the checkpoint's own.

    Half precision is slow on most CPUs, and float32 holds every half-precision weight exactly. Packed products round
    to bfloat16 anyway, so with them a CPU that has bfloat16 instructions computes everything in it.
    """
    if job.dtype != "auto":
        return job.dtype
    if device != "cpu":
        return None
    return "bfloat16" if job.kernels == "fast" and computes_bfloat16_natively() else "float32"


def _context(job: EvalJob, backend: Backend, tokenizer: Any) -> TaskContext:
    lm: Any = backend if isinstance(backend, Engine) else getattr(backend, "lm", None)
    encoder = Encoder(tokenizer, int(getattr(lm, "max_length", 2048)))
    return TaskContext(
        scale=job.scale,
        mode=job.mode,
        data_root=job.data_root,
        seed=job.seed,
        limit=job.limit,
        max_length=encoder.max_length,
        encode=encoder.encode,
        decode=lambda tokens: str(tokenizer.decode(list(tokens))),
        lead=encoder.lead,
        chat=None if job.chat is False else Chat.of(tokenizer),
        scorer=job.scorer,
    )


def _chat(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The messages by the model's template, asked for no thinking."""
    return (Chat.of(tokenizer) or Chat(tokenizer))(messages)


def _chat_facts(job: EvalJob, ctx: TaskContext, tokenizer: Any, *, foreign_too: bool) -> dict[str, Any]:
    """Whether prompts go through the chat template, in our tasks and in lm-eval's, and what is done about thoughts."""
    facts = ctx.chat.facts() if isinstance(ctx.chat, Chat) else {}
    used = {"ours": ctx.chat is not None, "lm_eval": bool(job.chat) if foreign_too else None}
    template = _sha256(template_of(tokenizer) or "") if any(used.values()) else None
    return {"template": template, "chat": {**used, **facts}}


def _gathered(
    tasks: Sequence[Task], ctx: TaskContext, *, allow_missing: bool, bare_tokens: bool
) -> tuple[list[Asked], dict[str, str]]:
    """Every task with its items, before anything is asked; where a task may be missing, the others' reasons."""
    asked, skipped = [], {}
    for task in tasks:
        try:
            found = gather(task, ctx)
            if not bare_tokens and any(ask.tokens for item in found.items for ask in item.requests):
                raise UserError("it scores bare tokens, which this backend can't", hint="use --backend engine")
            asked.append(found)
        except UserError as error:
            if not allow_missing:
                raise UserError(
                    f"task {task.name}: {error.problem}",
                    hint=f"{error.hint or ''}, or add --allow-missing".lstrip(", "),
                ) from error
            skipped[task.name] = str(error)
    if not asked and skipped:
        raise UserError(f"no task could be prepared: {next(iter(skipped.values()))}")
    return asked, skipped


def _add_foreign(
    job: EvalJob,
    backend: Backend,
    names: Sequence[str],
    manager: Any,
    writer: RunWriter,
    manifest: dict[str, Any],
    results: dict[str, Any],
) -> None:
    if isinstance(backend, Engine):
        backend.journal = writer.journal
    lm = backend if isinstance(backend, Engine) else backend.lm  # type: ignore[attr-defined]
    for name, part in foreign.evaluate(lm, names, manager, job.limit, job.seed, chat=bool(job.chat)).items():
        writer.write_samples(name, part.samples)
        manifest["tasks"] = {**manifest["tasks"], name: part.described}
        results["tasks"][name] = part.results


def dimension_result(dimension: Any, tasks: Mapping[str, Any]) -> dict[str, Any]:
    """A trust dimension's score from the estimates of those of its tasks that were asked, by its own rule."""
    names = [task.name for task in dimension.tasks]
    known = {name: _estimates(tasks[name]["metrics"]) for name in names if name in tasks}
    return {"score": dimension.combine(known), "tasks": names, "benign": bool(dimension.benign)}


def _estimates(metrics: Mapping[str, Any]) -> dict[str, Estimate]:
    return {
        name: Estimate(each["value"], each["stderr"], each["n"], None if each["ci95"] is None else tuple(each["ci95"]))
        for name, each in metrics.items()
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
