"""`llmc compress`: a checkpoint in, a smaller checkpoint and its manifest out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmc.commands import _completion
from llmc.errors import UserError

SAMPLES = 128


def compress(
    model: Annotated[str, typer.Argument(help="A checkpoint directory, a downloaded hub name, or 'mini'.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the compressed checkpoint goes.")],
    method: Annotated[
        str | None,
        typer.Option(
            "--method", "-m", autocompletion=_completion.methods, help="One method; `llmc methods` lists them."
        ),
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="A YAML file with several stages, run in a row.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method; repeatable.")
    ] = None,
    sparsity: Annotated[float | None, typer.Option(help="Fraction of weights removed.")] = None,
    pattern: Annotated[str | None, typer.Option(help="N:M = keep N of every M inputs, such as 2:4.")] = None,
    bits: Annotated[int | None, typer.Option(help="Bits of a quantised weight.")] = None,
    group_size: Annotated[int | None, typer.Option(help="Inputs that share a scale; -1 for the whole row.")] = None,
    rank_ratio: Annotated[float | None, typer.Option(help="Fraction of parameters that a low rank keeps.")] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Text for the statistics: a .txt, .jsonl or .parquet file, mini, c4, wikitext2, or none."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Calibration sequences.")] = SAMPLES,
    seq_len: Annotated[int | None, typer.Option(help="Tokens a sequence; at most 2048 and the model's limit.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which calibration sequences are drawn.")] = 0,
    format_: Annotated[
        str | None, typer.Option("--format", help="How the result is stored; by default what most loaders read.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto keeps the checkpoint's; or float32, bfloat16, float16.")] = "auto",
    max_shard_gb: Annotated[float, typer.Option(help="Largest weight file, in GB.")] = 5.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run of the same command.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest's totals as JSON.")] = False,
) -> None:
    """Compress MODEL into a checkpoint that stock loaders read, with a manifest of what happened to every matrix."""
    short = {
        "sparsity": sparsity, "pattern": pattern, "bits": bits, "group_size": group_size, "rank_ratio": rank_ratio
    }  # fmt: skip
    settings: dict[str, object] = {key: value for key, value in short.items() if value is not None}
    for pair in set_ or []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair} is not NAME=VALUE", hint="such as --set damping=0.05")
        name = key.strip().replace("-", "_")
        if name in settings:
            raise UserError(f"{name} is given twice: {settings[name]} and {value}", hint="keep one of them")
        settings[name] = value
    from llmc.commands._compress_job import make_job, render, run

    job = make_job(
        model, out, method, recipe, settings,
        calibration=calibration, samples=samples, seq_len=seq_len, seed=seed, format_name=format_, device=device,
        dtype=dtype, resume=resume, overwrite=overwrite, max_shard_gb=max_shard_gb, command=_command(),
    )  # fmt: skip
    if job.calibration is None and (samples != SAMPLES or seq_len is not None):
        option = "--seq-len" if samples == SAMPLES else "--samples"
        raise UserError(
            f"{option} has no meaning here: nothing is calibrated", hint="leave it out, or add --calibration"
        )
    render(run(job, dry_run=dry_run, as_json=as_json), as_json=as_json)


def _command() -> list[str] | None:
    return ["llmc", *sys.argv[1:]] if Path(sys.argv[0]).name in {"llmc", "__main__.py"} else None


COMMAND = compress
