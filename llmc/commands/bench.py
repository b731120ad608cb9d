"""`llmc bench`: what models take in memory and how fast they read and write, in turns, against the first one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering.say import say, say_json


def bench(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL", help="Checkpoint directories; the others are compared with the first."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write everything that was measured here, as JSON.")
    ] = None,
    into: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN", help="The run of each model, in the models' order: gate and report read its bench.json."
        ),
    ] = None,
    batch: Annotated[str, typer.Option(help="Sequences at a time, separated by commas.")] = "1,8,32",
    prompt_tokens: Annotated[int, typer.Option(help="Tokens of each prompt.")] = 512,
    new_tokens: Annotated[int, typer.Option(help="Tokens written after each prompt.")] = 32,
    repeats: Annotated[int, typer.Option(help="How often each model is measured, all in turn.")] = 5,
    seed: Annotated[int, typer.Option(help="Decides the prompts.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Processor threads; by default torch's choice.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    dtype: Annotated[
        str, typer.Option(help="What all models compute in. auto: bfloat16, or float32 on a CPU without it.")
    ] = "auto",
    kernels: Annotated[str, typer.Option(help="How packed layers compute: fast, exact or dense.")] = "fast",
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure load time, memory, and tokens a second of each model, all in turn in one go, against the first."""
    from llmc.commands.rendering.bench_table import table
    from llmc.commands.rendering.progress import progress
    from llmc.evaluate.speed.speed import SpeedSettings
    from llmc.jobs.bench import BenchJob, run

    settings = SpeedSettings(
        batches=_numbers(batch), prompt_tokens=prompt_tokens, new_tokens=new_tokens, repeats=repeats, seed=seed
    )
    job = BenchJob(
        models=tuple(models), out=out, into=tuple(into or ()), device=device, dtype=dtype,
        kernels=kernels, n_threads=threads,  # type: ignore[arg-type]
    )  # fmt: skip
    with progress("bench") as report:
        result = run(job, settings, report)
    if as_json:
        say_json(result, indent=1, sort_keys=True)
    else:
        say(*table(result).split("\n"))


def _numbers(text: str) -> tuple[int, ...]:
    from llmc.errors import UserError

    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"--batch {text} is no list of numbers", hint="e.g. --batch 1,8,32") from None


COMMAND = bench
