"""`llmc run`: compress, evaluate, compare and gate in one go, resumable at every stage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmc.commands import _completion


def run(
    model: Annotated[str, typer.Argument(help="A checkpoint directory, a downloaded hub name, or 'mini'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where models, runs and the report go.")],
    recipe: Annotated[list[Path], typer.Option(help="A recipe file; repeat it to compare several.")],
    suite: Annotated[
        str, typer.Option(autocompletion=_completion.suites, help="kick, trust, or both with a comma.")
    ] = "kick",
    scale: Annotated[
        str,
        typer.Option(autocompletion=_completion.scales, help="mini (made up, no download), quick or full (real data)."),
    ] = "quick",
    mode: Annotated[
        str,
        typer.Option(autocompletion=_completion.modes, help="fixed, or compat for the published protocol bug for bug."),
    ] = "fixed",
    data_root: Annotated[Path | None, typer.Option(help="The folder with the real data of quick and full.")] = None,
    limit: Annotated[int | None, typer.Option(help="Items a task at most.")] = None,
    seed: Annotated[int, typer.Option(help="For calibration and sampling.")] = 0,
    calibration: Annotated[str | None, typer.Option(help="Calibration text, as for `llmc compress`.")] = None,
    samples: Annotated[int, typer.Option(help="Calibration sequences.")] = 128,
    seq_len: Annotated[int | None, typer.Option(help="Tokens a calibration sequence.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="How compressed models are stored.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    policy: Annotated[Path | None, typer.Option(help="gate.toml; the built-in rules without it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run in --out.")] = False,
) -> None:
    """Compress MODEL with each recipe, evaluate all, and judge; the exit code is the worst one of the gate."""
    from llmc.commands._pipeline import Pipeline, Variant, perform
    from llmc.commands._progress import table_console
    from llmc.errors import Exit
    from llmc.report.terminal import print_comparison

    pipeline = Pipeline(
        model=model, out=out, variants=[Variant(name=path.stem, recipe=path) for path in recipe],
        suites=tuple(name.strip() for name in suite.split(",") if name.strip()), scale=scale, mode=mode,  # type: ignore[arg-type]
        data_root=data_root, limit=limit, seed=seed, calibration=calibration, samples=samples, seq_len=seq_len,
        format_name=format_, device=device, policy=policy, resume=resume, command=sys.argv,
    )  # fmt: skip
    compared = perform(pipeline, lambda stage: typer.echo(f"llmc: {stage}", err=True))
    print_comparison(compared.comparison, table_console())
    typer.echo(f"\n{out / 'report' / 'report.html'}")
    order = (Exit.OK, Exit.UNDECIDED, Exit.LOST, Exit.NOT_COMPARABLE)
    codes = [Exit(result.exit_code) for result in compared.comparison.runs]
    raise typer.Exit(max(codes, key=order.index))


COMMAND = run
