"""`llmc eval`: a model in, a run directory and a table out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmc.commands import _options


def evaluate(
    model: Annotated[str, _options.MODEL],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new directory for the run.")],
    suite: Annotated[str | None, _options.SUITE] = None,
    tasks: Annotated[str | None, _options.TASKS] = None,
    task_folder: Annotated[list[Path] | None, typer.Option(help="A folder of lm-eval task files; repeatable.")] = None,
    scale: Annotated[str, _options.SCALE] = "quick",
    mode: Annotated[str, _options.MODE] = "fixed",
    data_root: Annotated[Path | None, _options.DATA_ROOT] = None,
    backend: Annotated[str, _options.BACKEND] = "engine",
    backend_arg: Annotated[list[str] | None, _options.BACKEND_ARG] = None,
    batch_tokens: Annotated[int, typer.Option(help="Most tokens of a batch, padding included; of the engine.")] = 2048,
    limit: Annotated[int | None, _options.LIMIT] = None,
    seed: Annotated[int, typer.Option(help="Decides every sampled answer and every random choice.")] = 0,
    scorer: Annotated[str | None, _options.SCORER] = None,
    judge: Annotated[list[str] | None, _options.JUDGE] = None,
    dense_run: Annotated[Path | None, _options.DENSE_RUN] = None,
    label: Annotated[str | None, typer.Option(help="What reports call the model; else its folder's name.")] = None,
    device: Annotated[str, _options.DEVICE] = "auto",
    dtype: Annotated[
        str, typer.Option(help="auto: float32 on a CPU, else the checkpoint's; or a torch dtype.")
    ] = "auto",
    kernels: Annotated[str, _options.KERNELS] = "exact",
    chat: Annotated[bool | None, _options.CHAT] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out tasks that can't be asked (no data).")
    ] = False,
    online: Annotated[bool, typer.Option("--online", help="Let lm-eval's tasks fetch data from the hub.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run of the same command.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Ask MODEL the questions of suites and tasks; write answers, marks and results; print a table with intervals."""
    from llmc.commands._eval_job import EvalJob, run
    from llmc.commands._pairs import pairs
    from llmc.commands._progress import progress

    job = EvalJob(
        model=model, out=out, suites=_names(suite), tasks=_names(tasks), task_folders=tuple(task_folder or ()),
        scale=scale, mode=mode, data_root=data_root, backend=backend,  # type: ignore[arg-type]
        backend_args=pairs(backend_arg or [], "--backend-arg"), batch_tokens=batch_tokens, limit=limit, seed=seed,
        scorer=scorer, judges=tuple(judge or ()), dense_run=dense_run, label=label,
        device=device, dtype=dtype, kernels=kernels, chat=chat,  # type: ignore[arg-type]
        allow_missing=allow_missing, online=online, resume=resume, command=["llmc", *sys.argv[1:]],
    )  # fmt: skip
    with progress("eval") as report:
        results = run(job, report)
    if as_json:
        typer.echo(json.dumps(results, indent=1, sort_keys=True, allow_nan=False))
    else:
        from llmc.commands._eval_table import table

        typer.echo(table(results))


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


COMMAND = evaluate
