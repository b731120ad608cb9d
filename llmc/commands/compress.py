"""`llmc compress`: a checkpoint in, a smaller checkpoint and its manifest out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from llmc.commands.rendering import options
from llmc.errors import UserError

SAMPLES = 128


def compress(
    model: Annotated[str, options.MODEL],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the compressed checkpoint goes.")],
    method: Annotated[str | None, options.METHOD] = None,
    recipe: Annotated[Path | None, typer.Option(help="A YAML file with several stages, run in a row.")] = None,
    set_: Annotated[list[str] | None, options.SET] = None,
    sparsity: Annotated[float | None, typer.Option(help="Fraction of weights set to zero, such as 0.5.")] = None,
    pattern: Annotated[str | None, typer.Option(help="N:M keeps N of every M weights of a row, such as 2:4.")] = None,
    bits: Annotated[int | None, typer.Option(help="Bits that a quantised weight takes, such as 4.")] = None,
    group_size: Annotated[
        int | None, typer.Option(help="Weights of a row that share a scale; -1 for the whole row.")
    ] = None,
    rank_ratio: Annotated[
        float | None, typer.Option(help="Fraction of parameters that the factors of svd keep.")
    ] = None,
    embeddings: Annotated[int | None, options.EMBEDDINGS] = None,
    calibration: Annotated[str | None, options.CALIBRATION] = None,
    samples: Annotated[int, options.SEQUENCES] = SAMPLES,
    seq_len: Annotated[int | None, options.SEQ_LEN] = None,
    seed: Annotated[int, typer.Option(help="Decides which calibration sequences are drawn.")] = 0,
    format_: Annotated[str | None, options.FORMAT] = None,
    device: Annotated[str, options.DEVICE] = "auto",
    dtype: Annotated[str, options.STORED] = "auto",
    max_shard_gb: Annotated[float, typer.Option(help="Largest weight file, in GB.")] = 5.0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run of the same command.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="With --resume of a finished run: compare checksums, not sizes alone.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.")] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Read the written files back and compare every block.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and say what would be done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest's totals as JSON.")] = False,
) -> None:
    """Compress MODEL into a checkpoint that stock loaders read, with a manifest of what happened to every matrix."""
    short = {
        "sparsity": sparsity, "pattern": pattern, "bits": bits, "group_size": group_size, "rank_ratio": rank_ratio
    }  # fmt: skip
    settings = _settings({key: value for key, value in short.items() if value is not None}, set_ or [])
    if verify and not resume:
        raise UserError("--verify has no meaning without --resume", hint="`llmc verify DIR` checks any folder")
    from llmc.jobs.compress import make_job, render, run

    job = make_job(
        model, out, method, recipe, settings,
        calibration=calibration, samples=samples, seq_len=seq_len, seed=seed, format_name=format_, device=device,
        dtype=dtype, resume=resume, verify=verify, overwrite=overwrite, max_shard_gb=max_shard_gb, check=check,
        embeddings=embeddings,
        command=_command(),
    )  # fmt: skip
    if job.calibration is None and (samples != SAMPLES or seq_len is not None):
        option = "--seq-len" if samples == SAMPLES else "--samples"
        raise UserError(
            f"{option} has no meaning here: nothing is calibrated", hint="leave it out, or add --calibration"
        )
    render(run(job, dry_run=dry_run, as_json=as_json), as_json=as_json)


def _settings(known: dict[str, object], pairs: list[str]) -> dict[str, object]:
    """The method's settings: those with an option of their own, and those of --set."""
    settings = dict(known)
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair} is not NAME=VALUE", hint="such as --set damping=0.05")
        name = key.strip().replace("-", "_")
        if name in settings:
            raise UserError(f"{name} is given twice: {settings[name]} and {value}", hint="keep one of them")
        settings[name] = value
    return settings


def _command() -> list[str] | None:
    return ["llmc", *sys.argv[1:]] if Path(sys.argv[0]).name in {"llmc", "__main__.py"} else None


COMMAND = compress
