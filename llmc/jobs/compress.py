"""What `llmc compress` and `llmc demo` share: from words to a job, running it, and the lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from llmc.commands.rendering.progress import progress, table_console
from llmc.commands.rendering.say import say, say_json
from llmc.compress.manifest import Manifest
from llmc.compress.method import Balances, Method, Needs
from llmc.compress.plan import Job, Plan, plan
from llmc.compress.recipe import Recipe, build, methods, read_recipe
from llmc.compress.run import check_out
from llmc.compress.run import compress as run_job
from llmc.compress.walk.journal import blocks_kept
from llmc.data.calibration import Calibration, calibrate, check_source
from llmc.data.hub_text import PINNED
from llmc.errors import UserError
from llmc.folders.exchange import pending
from llmc.folders.place import check_out as check_out_place
from llmc.jobs.resolve import EMBEDDED, resolve
from llmc.jobs.stopping import saying
from llmc.models.config import decoder_config
from llmc.models.layout import output_dtype
from llmc.models.load import load_tokenizer, pick_device, quiet
from llmc.offline import network
from llmc.reading.seed import check_seed

LEAST_SHARD_GB, MOST_SHARD_GB = 1e-6, 10**6


def recipe_of(
    method: str | None, recipe: Path | None, settings: Mapping[str, object], embeddings: int | None = None
) -> Recipe:
    """What --method with its settings and --embeddings, or --recipe, ask for."""
    if (method is None) == (recipe is None):
        raise UserError("give one of --method and --recipe", hint=f"methods: {', '.join(methods())}")
    if recipe is not None:
        given = [*settings, *(["embeddings"] if embeddings is not None else [])]
        if given:
            raise UserError(f"--{given[0]} has no meaning beside --recipe", hint="put it into the recipe file")
        return read_recipe(recipe)
    assert method is not None
    return Recipe((build(method, settings),), embeddings)


def make_job(
    model: str,
    out: Path,
    method: str | None,
    recipe: Path | None,
    settings: Mapping[str, object],
    *,
    calibration: str | None,
    samples: int,
    seq_len: int | None,
    seed: int,
    format_name: str | None,
    device: str,
    dtype: str,
    resume: bool,
    overwrite: bool,
    max_shard_gb: float,
    check: bool = True,
    embeddings: int | None = None,
    verify: bool = False,
    command: list[str] | None,
) -> Job:
    """The job that the command line describes, with its calibration tokens drawn."""
    asked = recipe_of(method, recipe, settings, embeddings)
    stages = asked.stages
    quiet()
    if not LEAST_SHARD_GB <= max_shard_gb <= MOST_SHARD_GB:
        raise UserError(f"--max-shard-gb must lie between {LEAST_SHARD_GB} and {MOST_SHARD_GB:,}, got {max_shard_gb}")
    check_seed(seed)
    source = resolve(model)
    check_out_place(out, {"the model": source, "the calibration text": text_file(calibration), "the recipe": recipe})
    with network(allowed=calibration in PINNED):  # naming one asks for it
        tokens = _calibration(source, model, stages, calibration, samples=samples, seq_len=seq_len, seed=seed)
    return Job(
        model=source,
        out=out,
        stages=stages,
        calibration=tokens,
        seed=seed,
        format=format_name,
        dtype=output_dtype(dtype),
        embeddings=asked.embeddings,
        device=pick_device(device),
        resume=resume,
        verify=verify,
        overwrite=overwrite,
        max_shard_bytes=int(max_shard_gb * 1e9),
        check=check,
        command=command,
    )


def text_file(calibration: str | None) -> Path | None:
    """The file that --calibration names; None for a text of another kind."""
    return None if calibration is None or calibration in ("mini", "none", *PINNED) else Path(calibration)


def _calibration(
    source: Path,
    name: str,
    stages: tuple[Method, ...],
    wanted: str | None,
    *,
    samples: int,
    seq_len: int | None,
    seed: int,
) -> Calibration | None:
    needy = [m.name for m in stages if m.needs > Needs.NOTHING or isinstance(m, Balances)]
    if wanted == "none" or (wanted is None and not needy and name != EMBEDDED):
        if needy:
            raise UserError(f"{needy[0]} needs calibration text", hint="give --calibration FILE, mini or c4")
        return None
    if wanted is None and name != EMBEDDED:
        raise UserError(
            f"{needy[0]} needs calibration text and nothing is fetched unasked",
            hint="give --calibration FILE (.txt, .jsonl, .csv, .parquet), or c4 or wikitext2 to download it",
        )
    check_source(wanted or "mini")
    limit = getattr(decoder_config(source).get_text_config(), "max_position_embeddings", None) or 2048
    length = seq_len if seq_len is not None else min(2048, limit)
    return calibrate(load_tokenizer(source), wanted or "mini", samples=samples, seq_len=length, seed=seed)


def run(job: Job, *, dry_run: bool, as_json: bool = False) -> Manifest | None:
    """The manifest of the finished job; None for a dry run, which checks everything and says what would be done."""
    if dry_run:
        _dry_run(job, as_json=as_json)
        return None
    with (
        saying(lambda: _kept(job.out)),
        progress(f"compressing {job.model.name} with {' + '.join(m.name for m in job.stages)}") as tell,
    ):
        return run_job(job, tell)


def _kept(out: Path) -> str:
    beside = pending(out)
    out = out if beside is None else beside[0]
    n = blocks_kept(out)
    return f"{n} finished block{' is' if n == 1 else 's are'} kept in {out}"


def _dry_run(job: Job, *, as_json: bool) -> None:
    check_out(job)
    _, planned = plan(job)
    weights = sum(s.shape[0] * s.shape[1] for s in planned.matrices.values())
    tokens = 0 if job.calibration is None else job.calibration.tokens.numel()
    if as_json:
        said = {
            "out": str(job.out), "methods": [m.name for m in job.stages], "matrices": len(planned.matrices),
            "weights": weights, "embeddings": job.embeddings, "format": planned.format.name,
            "compute_dtype": str(planned.compute_dtype).removeprefix("torch."), "calibration_tokens": tokens,
        }  # fmt: skip
        say_json(said, indent=2)
        return
    say(
        f"would compress {len(planned.matrices)} matrices ({weights:,} weights) with "
        f"{' then '.join(m.name for m in job.stages)}"
        f"{_and_tables(planned)} into {job.out}",
        f"format {planned.format.name}, blocks run in {str(planned.compute_dtype).removeprefix('torch.')}, "
        f"calibration tokens {f'{tokens:,}' if tokens else 'none'}",
    )


def _and_tables(planned: Plan) -> str:
    """What else the job quantises, for the sentence of a dry run."""
    if not planned.tables:
        return ""
    return f", and {' and '.join(table.live for table in planned.tables)} in {planned.tables[0].stored.bits} bits,"


def render(account: Manifest | None, *, as_json: bool) -> None:
    """Prints what a compression did: the totals for a person, or as JSON."""
    if account is None:
        return
    totals = account.totals
    if as_json:
        say_json({"totals": totals.model_dump(), "warnings": account.warnings}, indent=2)
        return
    _warn(account)
    say(f"{describe(account)}: {len(account.matrices)} matrices in {totals.seconds:.1f} s")
    table = Table(show_header=True, header_style="bold", box=None, pad_edge=False)
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    table.add_row("weights on disk", size(totals.bytes_on_disk_before), size(totals.bytes_on_disk))
    table.add_row("parameters", f"{totals.parameters_before:,}", f"{totals.parameters:,}")
    table.add_row("nonzero parameters", "", f"{totals.nonzero_parameters:,}")
    table.add_row(f"{zeros_name(account)} of the compressed matrices", "", f"{totals.compressed_sparsity:.2%}")
    at_best = ", if packed" if account.format == "dense" else ""
    table.add_row(f"bits a weight of the compressed matrices{at_best}", "", f"{totals.compressed_bits_per_weight:.2f}")
    error = totals.mean_relative_output_error
    table.add_row("mean relative output error", "", "not measured" if error is None else f"{error:.3g}")
    table.add_row("peak memory of this process", "", size(totals.peak_rss_bytes))
    table_console().print(table)


def describe(account: Manifest) -> str:
    """The stages in a few words, such as "gptq 4 bits g128"."""
    words = []
    for stage in account.stages:
        shown = [str(stage["method"])]
        if stage.get("pattern"):
            shown.append(str(stage["pattern"]))
        elif stage.get("sparsity") is not None:
            shown.append(f"{stage['sparsity']:.0%}")
        if stage.get("bits"):
            shown.append(f"{stage['bits']} bits")
        if stage.get("bits") and stage.get("group_size"):
            shown.append("per channel" if stage["group_size"] == -1 else f"g{stage['group_size']}")
        if stage.get("rank"):
            shown.append(f"rank {stage['rank']}")
        elif stage.get("rank_ratio"):
            shown.append(f"keeps {stage['rank_ratio']:.0%}")
        words.append(" ".join(shown))
    if account.embeddings is not None:
        words.append(f"embeddings {account.embeddings} bits")
    return " + ".join(words)


def zeros_name(account: Manifest) -> str:
    """What the share of zeros is called: weights at 0 are sparsity, codes that stand for 0 are not."""
    return "zero codes" if any(stage.get("bits") for stage in account.stages) else "sparsity"


def size(n_bytes: int) -> str:
    """A number of bytes as a person reads it."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1000
    return f"{value:.2f} TB"


def _warn(account: Manifest) -> None:
    """The job's warnings in full, those of single matrices counted by kind."""
    for sentence in account.warnings:
        say(f"note: {sentence}", err=True, colour="yellow")
    texts = [text for record in account.matrices for text in record.warnings]
    for text in texts[:3]:
        say(f"note: {text}", err=True, colour="yellow")
    if len(texts) > 3:
        say(f"note: and {len(texts) - 3} more like these; `llmc inspect` shows all", err=True, colour="yellow")
