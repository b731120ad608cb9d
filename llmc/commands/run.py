"""`llmc run`: compress, evaluate, compare and gate in one go, resumable at every stage."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmc.commands.rendering import options
from llmc.commands.rendering.asking import with_asking
from llmc.commands.rendering.say import say

if TYPE_CHECKING:
    from llmc.jobs.asking import Asking


def run(
    model: Annotated[str, options.MODEL],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where models, runs and the report go.")],
    recipe: Annotated[
        list[Path], typer.Option(help="A YAML file with a model's stages; repeat it to compare several.")
    ],
    asking: Asking,
    calibration: Annotated[str | None, typer.Option(help="Text to calibrate on, as for `llmc compress`.")] = None,
    samples: Annotated[int, options.SEQUENCES] = 128,
    seq_len: Annotated[int | None, typer.Option(help="Tokens of each.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="How compressed models are stored, as for `llmc compress`.")
    ] = None,
    policy: Annotated[Path | None, typer.Option(help="gate.toml; the built-in rules without it.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run in --out.")] = False,
) -> None:
    """Compress MODEL with each recipe, evaluate all as `llmc eval` does, and judge; the exit code is the gate's worst.

    Asks the suite kick unless --suite or --tasks says otherwise. Recipes, data, disk and policy are checked first.
    """
    from llmc.commands.rendering.progress import table_console
    from llmc.jobs.pipeline import Pipeline, Variant, perform
    from llmc.judging.judge import worst_exit
    from llmc.report.terminal import print_comparison

    pipeline = Pipeline(
        model=model, out=out, variants=[Variant(name=path.stem, recipe=path) for path in recipe], asking=asking,
        calibration=calibration, samples=samples, seq_len=seq_len, format_name=format_, policy=policy, resume=resume,
        command=sys.argv,
    )  # fmt: skip
    compared = perform(pipeline, lambda stage: say(f"llmc: {stage}", err=True))
    print_comparison(compared.comparison, table_console())
    say("", out / "report" / "report.html")
    raise typer.Exit(worst_exit(result.exit_code for result in compared.comparison.runs))


COMMAND = with_asking(run, suite="kick")
