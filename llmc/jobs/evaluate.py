"""What `llmc eval` does: find the tasks, ask the model, write the run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch

from llmc.catalog import catalog, pick
from llmc.data.framing import frame_of
from llmc.errors import UserError, unknown
from llmc.evaluate.backends import lm_eval_tasks
from llmc.evaluate.backends.backend import THOUGHT_TOKENS, Backend, lm_eval_backend, scores_tokens
from llmc.evaluate.engine.encoding import Encoder, window_of
from llmc.evaluate.engine.endings import end_texts, end_tokens
from llmc.evaluate.engine.engine import BATCH_TOKENS, Engine
from llmc.evaluate.judge import Judge, judged
from llmc.evaluate.prompting.chat import Chat, template_of
from llmc.evaluate.provenance import machine, model_facts, packages, tokenizer_sha256
from llmc.evaluate.runner import Asked, described, expected_bytes, gather, perform
from llmc.evaluate.task import Task, TaskContext
from llmc.files import check_place
from llmc.folders.place import check_out
from llmc.jobs.asking import SUITES, EvalJob
from llmc.jobs.own_tasks import own_tasks
from llmc.jobs.resolve import resolve
from llmc.jobs.stopping import saying
from llmc.kernels.fast_linear import computes_bfloat16_natively
from llmc.models.config import decoder_config
from llmc.models.identity import code_sha256
from llmc.models.load import load_model, load_tokenizer, pick_device, quiet
from llmc.offline import network
from llmc.runs.dimension import dimension_result
from llmc.runs.identity import CODE, answers_sha256, task_files
from llmc.runs.writer import Run, RunWriter
from llmc.trust.machinery.scorer_option import check_scorer

DECODING = {
    "default": "greedy, no repetition penalty; what a task asks for stands in its samples",
    "thought_tokens": THOUGHT_TOKENS,
}
Report = Callable[[int, int, str], None]


class Prepared(NamedTuple):
    """What an evaluation is, worked out before a model is loaded."""

    dimensions: Sequence[Any]
    others: Sequence[str]
    """lm-eval's tasks among those chosen."""
    manager: Any
    judges: Mapping[Judge, str]
    """Each with its revision."""
    dense: Run | None
    directory: Path
    tokenizer: Any
    device: str
    dtype: torch.dtype | None
    ctx: TaskContext
    asked: Sequence[Asked]
    skipped: Mapping[str, str]


def run(job: EvalJob, report: Report) -> dict[str, Any]:
    """Results of the job, which are then also in its run directory; a finished run is read, not made again.

    Whatever a user can mend is said before the model is loaded.
    """
    with network(allowed=job.online):
        return _run(job, report)


def _run(job: EvalJob, report: Report) -> dict[str, Any]:
    quiet()
    with closing(RunWriter(job.out, resume=job.resume)) as writer:
        return _write(job, writer, report)


def _write(job: EvalJob, writer: RunWriter, report: Report) -> dict[str, Any]:
    started = time.monotonic()
    ready = prepare(job, complete=writer.complete)
    backend, model = _backend(job, ready)
    ready = _in_window(job, ready, backend)
    manifest = _manifest(job, ready, model)
    if writer.complete:
        writer.check(manifest)
        writer.settle()
        return Run(job.out).results
    writer.begin(manifest)
    if isinstance(backend, Engine):
        backend.journal = writer.journal
    results: dict[str, Any] = {"tasks": {}, "dimensions": {}}
    with saying(lambda: _kept(writer)):
        for each in ready.asked:
            name = each.task.name
            part, lines = perform(each, backend, writer.journal, report)
            dense = ready.dense
            known = {line["id"]: line for line in dense.samples(name)} if dense and name in dense.tasks else {}
            for judge in ready.judges:
                part, lines = judged(judge, part, lines, known, backend)
            writer.write_samples(name, lines)
            results["tasks"][name] = part
        if ready.others:
            _add_foreign(job, backend, ready.others, ready.manager, writer, manifest, results)
    results["dimensions"] = {each.name: dimension_result(each, results["tasks"]) for each in ready.dimensions}
    writer.finish({**manifest, "seconds": round(time.monotonic() - started, 3)}, results)
    return results


def _kept(writer: RunWriter) -> str:
    n = len(writer.journal.known)
    return f"{n:,} answer{' is' if n == 1 else 's are'} kept in {writer.path}"


def check(job: EvalJob) -> int:
    """About the bytes that the job's run will take, after everything but the model's weights has been checked."""
    with network(allowed=job.online):
        quiet()
        return expected_bytes(prepare(job, complete=RunWriter(job.out, resume=job.resume).complete).asked)


def prepare(job: EvalJob, *, complete: bool = False) -> Prepared:
    """Everything that is asked, with the data read and their hashes checked; no weights are loaded.

    Raises `UserError` for all that a user can mend. Of a `complete` run lm-eval's tasks are not looked for again.
    """
    chosen, dimensions, others = _chosen(job)
    _refuse_idle_options(job, chosen, others)
    if job.scorer is not None:
        check_scorer(job.scorer)
    dense = Run(job.dense_run) if job.dense_run is not None else None
    directory = resolve(job.model)
    read = {"the data": job.data_root, "the dense run": job.dense_run}
    check_out(job.out, {"the model": directory, **read, **{f"the tasks of {f}": f for f in job.task_folders}})
    tokenizer = load_tokenizer(directory)
    if job.backend != "engine" and frame_of(tokenizer).tail:
        raise UserError(
            f"the tokenizer puts an end token behind every text, and --backend {job.backend} would leave it there",
            hint="use --backend engine, which takes it off",
        )
    judges = check_judges(job.judges, job.backend, tokenizer)
    config = decoder_config(directory, dense=False)
    device = pick_device(job.device)
    dtype = _dtype(job, device)
    bare_tokens = job.backend == "engine" or scores_tokens(job.backend)
    ctx = _context(job, tokenizer, window_of(config, tokenizer))
    # Before anything is asked: a misspelt name or a missing file must not cost an evening's answers.
    manager = (
        lm_eval_tasks.find(others, job.task_folders, _short(own_tasks()))
        if others and (not complete or job.allow_missing)
        else None
    )
    missing = lm_eval_tasks.missing_data(others, manager) if manager is not None else {}
    if missing and not job.allow_missing:
        raise next(iter(missing.values()))
    others = [name for name in others if name not in missing]
    asked, skipped = _gathered(chosen, ctx, allow_missing=job.allow_missing, bare_tokens=bare_tokens)
    skipped |= {name: str(error) for name, error in missing.items()}
    if not asked and not others:
        raise UserError(f"no task could be prepared: {next(iter(skipped.values()))}")
    check_place(job.out, expected_bytes(asked))
    return Prepared(
        dimensions, others, manager, judges, dense, directory, tokenizer, device, dtype, ctx, asked, skipped
    )  # fmt: skip


def _in_window(job: EvalJob, ready: Prepared, backend: Backend) -> Prepared:
    """The same for the window that the backend has, where that is another one than the model's."""
    lm: Any = backend if isinstance(backend, Engine) else getattr(backend, "lm", None)
    window = int(getattr(lm, "max_length", ready.ctx.max_length))
    if window == ready.ctx.max_length:
        return ready
    ctx = _context(job, ready.tokenizer, window)
    tasks = [each.task for each in ready.asked]
    asked, skipped = _gathered(tasks, ctx, allow_missing=job.allow_missing, bare_tokens=backend.scores_tokens)
    return ready._replace(ctx=ctx, asked=asked, skipped={**ready.skipped, **skipped})


def _manifest(job: EvalJob, ready: Prepared, model: Any) -> dict[str, Any]:
    """What the run is, as its directory keeps it."""
    others = ready.others
    facts = model_facts(ready.directory, model, job.label or _hub_name(job.model), known_as=job.known_as)
    return {
        **facts,
        "suites": sorted({*job.suites, *({lm_eval_tasks.SUITE} if others else set())}),
        "tasks": {each.task.name: described(each, ready.ctx) for each in ready.asked},
        "skipped": ready.skipped,
        "mode": job.mode,
        "scale": job.scale,
        "seed": job.seed,
        "limit": job.limit,
        "backend": job.backend,
        "backend_args": {name: str(value) for name, value in (job.backend_args or {}).items()},
        "dtype": str(ready.dtype),
        "kernels": job.kernels if job.backend == "engine" else None,
        "batch_tokens": job.batch_tokens if job.backend == "engine" else None,
        **_chat_facts(job, ready.ctx, ready.tokenizer, foreign_too=bool(others)),
        "tokenizer_sha256": tokenizer_sha256(ready.tokenizer),
        "decoding": DECODING,
        "lm_eval_tasks": list(others),
        "task_folders": task_files(job.task_folders) if others else {},
        "dense_run": answers_sha256(job.dense_run) if job.dense_run is not None else None,
        "judges": {judge.name: revision for judge, revision in ready.judges.items()},
        "packages": packages(),
        "code_sha256": code_sha256(CODE),
        "machine": machine(ready.device),
        "seconds": None,
        "command": list(job.command or []),
    }


def _chosen(job: EvalJob) -> tuple[list[Task], list[Any], list[str]]:
    """Our tasks, trust dimensions, and the names that are lm-eval's."""
    kick, trust = catalog("llmc.kick_bench.tasks", "TASK"), catalog("llmc.trust.dimensions", "DIMENSION")
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


def check_judges(texts: Sequence[str], backend: str, tokenizer: Any) -> dict[Judge, str]:
    """The judges that `texts` name, each with its revision; a `UserError` for one that could not judge."""
    judges = [_judge(text) for text in texts]
    for judge in judges:
        judge.check(backend, tokenizer)
    return {judge: judge.revision() for judge in judges}


def _backend(job: EvalJob, ready: Prepared) -> tuple[Backend, Any]:
    """Who answers, and the model where it is ours."""
    if job.backend == "engine":
        model = load_model(ready.directory, dtype=ready.dtype, device=ready.device, kernels=job.kernels)
        return Engine(model, ready.tokenizer, batch_tokens=job.batch_tokens), model
    dtype = "auto" if ready.dtype is None else str(ready.dtype).removeprefix("torch.")
    arguments: dict[str, Any] = {"pretrained": str(ready.directory), "dtype": dtype, **(job.backend_args or {})}
    if job.backend == "hf":
        arguments = {"device": ready.device, "batch_size": 8, **arguments}
    return lm_eval_backend(job.backend, arguments, _end_texts(ready.directory, ready.tokenizer)), None


def _end_texts(directory: Path, tokenizer: Any) -> tuple[str, ...]:
    """How the end tokens that the checkpoint names look, for a backend that leaves them in its answers."""
    from transformers import GenerationConfig

    try:
        named = GenerationConfig.from_pretrained(directory, local_files_only=True)
    except OSError:
        named = None
    return end_texts(tokenizer, end_tokens(tokenizer, named))


def _dtype(job: EvalJob, device: str) -> torch.dtype | None:
    """The dtype that the model computes in; None for the checkpoint's own.

    Half precision is slow on most CPUs, and float32 holds every half-precision weight exactly. Packed products round
    to bfloat16 anyway, so with them a CPU that has bfloat16 instructions computes everything in it.
    """
    if job.dtype == "auto":
        if device != "cpu":
            return None
        return torch.bfloat16 if job.kernels == "fast" and computes_bfloat16_natively() else torch.float32
    chosen = getattr(torch, job.dtype, None)
    if not (isinstance(chosen, torch.dtype) and chosen.is_floating_point and chosen.itemsize > 1):
        raise unknown("dtype", job.dtype, ("auto", "float64", "float32", "bfloat16", "float16"))
    return chosen


def _context(job: EvalJob, tokenizer: Any, max_length: int) -> TaskContext:
    encoder = Encoder(tokenizer, max_length)
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
    lm = backend if isinstance(backend, Engine) else backend.lm  # type: ignore[attr-defined]
    found = lm_eval_tasks.evaluate(lm, names, manager, job.limit, job.seed, chat=bool(job.chat))
    if found.groups:
        results["groups"] = found.groups
    for name, part in found.tasks.items():
        writer.write_samples(name, part.samples)
        manifest["tasks"] = {**manifest["tasks"], name: part.described}
        results["tasks"][name] = part.results


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
