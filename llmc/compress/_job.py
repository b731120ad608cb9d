"""One compression from a directory to a directory: checks everything first, walks, then finishes the files."""

from __future__ import annotations

import dataclasses
import resource
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llmc.catalog import catalog, pick
from llmc.compress import _manifest as manifest
from llmc.compress._finish import copy_companions, final_config
from llmc.compress._journal import Journal
from llmc.compress._method import Method
from llmc.compress._recipe import as_stage
from llmc.compress._walk import Progress, Walk
from llmc.compress._writer import WORK, ShardWriter, disk_errors, write_json
from llmc.compress.formats._format import Format, Stored
from llmc.data.calibration import Calibration
from llmc.errors import UserError
from llmc.models.checkpoint import torch_dtype
from llmc.models.experts import split_experts
from llmc.models.layout import check_understood, find_blocks, matrices
from llmc.models.skeleton import Skeleton

TOKENS_PER_BATCH = 4096
"""Calibration tokens that go through a block at once: enough to fill the matrix units, little to hold."""


@dataclass(kw_only=True)
class Job:
    """What to compress, how, and where to."""

    model: Path
    out: Path
    stages: tuple[Method, ...]
    calibration: Calibration | None
    seed: int = 0
    format: str | None = None
    """None: compressed-tensors for what is quantised in linear layers, dense for all else."""
    dtype: torch.dtype | None = None
    device: str = "cpu"
    resume: bool = False
    overwrite: bool = False
    max_shard_bytes: int = 5_000_000_000
    command: list[str] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job will do, worked out from shapes alone."""

    format: Format
    matrices: dict[str, Stored]
    bytes_before: int
    compute_dtype: torch.dtype


def compute_dtype(stored: torch.dtype, device: str) -> torch.dtype:
    """The dtype to run blocks in: the stored one where the device is fast in it, else float32.

    A CPU without bfloat16 units multiplies bfloat16 several times slower than float32, and float16 slower still.
    """
    if stored == torch.float32 or device != "cpu":
        return stored
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return stored if stored == torch.bfloat16 and fast else torch.float32


def plan(job: Job) -> tuple[Skeleton, Plan]:
    """Checks the model, the settings and the format against each other before any work is done."""
    probe = Skeleton(job.model, torch.float32)
    dtypes = [torch_dtype(info.dtype) for info in probe.checkpoint.tensors.values()]
    floats = [d for d in dtypes if d is not None and d.is_floating_point]
    main = max(set(floats), key=floats.count)
    wanted = compute_dtype(job.dtype or main, job.device)
    skeleton = probe if wanted == torch.float32 else Skeleton(job.model, wanted)
    prefix, blocks = find_blocks(skeleton.model)
    stored: dict[str, Stored] = {}
    for index, block in enumerate(blocks):
        where = f"{prefix}.{index}"
        with torch.device("meta"):
            split_experts(block, where)
        check_understood(block, where)
        for matrix in matrices(block):
            shape = (matrix.weight.shape[0], matrix.weight.shape[1])
            stored[f"{where}.{matrix.name}"] = _expected(job.stages, shape, matrix.kind)
    if not stored:
        raise UserError(f"{job.model} has no matrices to compress in its blocks", hint="is this a transformer decoder?")
    fmt = _format(job, stored)
    for name, expected in stored.items():
        if expected.module == "linear":
            fmt.refuse(name, expected)
    _check_length(skeleton, job)
    return Skeleton(job.model, wanted), Plan(
        format=fmt, matrices=stored, bytes_before=skeleton.checkpoint.n_bytes, compute_dtype=wanted
    )


def _expected(stages: Sequence[Method], shape: tuple[int, int], kind: Any) -> Stored:
    """What the stages' settings will make of a matrix of `shape`; raises what the methods raise for it."""
    stored = Stored(shape=shape, module=kind)
    for method in stages:
        check = getattr(method, "check", None)
        if check is not None:
            check(shape)
        if getattr(method, "bits", None) is not None:
            stored = dataclasses.replace(
                stored,
                bits=method.bits,  # type: ignore[attr-defined]
                group_size=getattr(method, "group_size", -1),
                symmetric=getattr(method, "symmetric", True),
            )
    return stored


def _format(job: Job, stored: dict[str, Stored]) -> Format:
    formats = catalog("llmc.compress.formats", "FORMAT")
    quantised = any(s.bits is not None for s in stored.values())
    linear = [s for s in stored.values() if s.module == "linear"]
    if job.format is not None:
        found: Format = pick(formats, job.format, "format")
        if found.name != "dense" and not linear:
            raise UserError(
                f"{job.model} has no nn.Linear to store as {found.name}: its matrices are "
                f"{'/'.join(sorted({s.module for s in stored.values()}))}",
                hint="use --format dense",
            )
        return found
    chosen: Format = formats["compressed-tensors" if quantised and linear else "dense"]
    if quantised and not linear:
        job.warnings.append(
            "This model has no nn.Linear that a packed format could hold, so the quantised weights are stored dense: "
            "the quality is that of the quantised model, the size is not."
        )
    return chosen


def _check_length(skeleton: Skeleton, job: Job) -> None:
    limit = getattr(skeleton.config.get_text_config(), "max_position_embeddings", None)
    if job.calibration is not None and limit is not None and job.calibration.tokens.shape[1] > limit:
        raise UserError(
            f"--seq-len {job.calibration.tokens.shape[1]} is longer than the {limit} positions of {job.model}",
            hint=f"use --seq-len {limit} or less",
        )
    vocabulary = skeleton.config.get_text_config().vocab_size
    if job.calibration is not None and int(job.calibration.tokens.max()) >= vocabulary:
        raise UserError(
            f"the tokenizer gives the id {int(job.calibration.tokens.max())} and the model knows {vocabulary}",
            hint="check that tokenizer and weights belong together",
        )


def compress(job: Job, progress: Progress) -> manifest.Manifest:
    """Runs the job and returns its manifest, which is also the last file written.

    Raises `UserError` for everything a user can mend. After a kill at any instant, the same job with `resume` ends
    in the same bytes.
    """
    start = time.perf_counter()
    fresh = _prepare(job)
    if fresh is not None:
        return fresh
    skeleton, planned = plan(job)
    _check_space(job, planned)
    writer = ShardWriter(job.out, job.max_shard_bytes)
    journal = Journal(job.out, _fingerprint(job, planned, skeleton))
    journal.load()
    walk = Walk(skeleton, job.stages, planned.format, writer, journal, dtype=job.dtype)
    walk.run(_batches(job), progress)
    index = writer.join()
    stored = {name: Stored(**{**s, "shape": tuple(s["shape"])}) for name, s in journal.stored.items()}
    warnings = [*job.warnings, *(job.calibration.warnings if job.calibration else ())]
    if stored:
        warnings += planned.format.warnings(stored)
    account = _account(job, planned, skeleton, journal, index, warnings, time.perf_counter() - start)
    with disk_errors(job.out):
        copy_companions(job.model, job.out)
        write_json(job.out / "config.json", final_config(job, planned.format, stored, skeleton))
        write_json(job.out / manifest.NAME, account.model_dump())
    writer.clean()
    return account


def _prepare(job: Job) -> manifest.Manifest | None:
    """Makes room for the output; the finished manifest when there is nothing left to do."""
    if job.out.resolve() == job.model.resolve():
        raise UserError("--out is the model itself", hint="choose another directory")
    if job.resume and job.overwrite:
        raise UserError("--resume and --overwrite exclude each other", hint="give one of them")
    if job.out.exists() and not job.out.is_dir():
        raise UserError(f"{job.out} is a file", hint="choose another --out")
    if job.out.exists() and any(job.out.iterdir()):
        if job.resume:
            finished = (job.out / manifest.NAME).exists() and not (job.out / WORK).exists()
            if finished:
                return manifest.read_manifest(job.out)
            if not (job.out / WORK).exists():
                raise UserError(f"{job.out} holds something that llmc did not begin", hint="choose another --out")
            return None
        if not job.overwrite:
            if (job.out / WORK).is_dir():
                raise UserError(f"{job.out} holds an unfinished run", hint="go on with --resume, or use --overwrite")
            raise UserError(f"{job.out} exists and is not empty", hint="use --overwrite to replace it")
        ours = (job.out / manifest.NAME).exists() or (job.out / WORK).exists()
        if not ours:
            raise UserError(
                f"{job.out} was not made by llmc, so --overwrite does not delete it", hint="choose another --out"
            )
        shutil.rmtree(job.out)
    with disk_errors(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
    return None


def _check_space(job: Job, planned: Plan) -> None:
    free = shutil.disk_usage(job.out).free
    bits = [s.bits for s in planned.matrices.values() if s.bits is not None]
    share = 1.0 if planned.format.name == "dense" or not bits else 0.5
    needed = int(planned.bytes_before * share)
    if free < needed:
        raise UserError(
            f"{job.out} has {free / 1e9:.1f} GB free and about {needed / 1e9:.1f} GB are needed",
            hint="free some space or choose another --out",
        )


def _batches(job: Job) -> list[torch.Tensor]:
    if job.calibration is None:
        return []
    tokens = job.calibration.tokens
    size = max(1, TOKENS_PER_BATCH // tokens.shape[1])
    return [tokens[i : i + size] for i in range(0, len(tokens), size)]


def _fingerprint(job: Job, planned: Plan, skeleton: Skeleton) -> dict[str, Any]:
    """Everything that decides the bytes of the result."""
    return {
        "model": skeleton.checkpoint.sha256,
        "stages": [as_stage(method) for method in job.stages],
        "calibration": None if job.calibration is None else job.calibration.sha256,
        "format": planned.format.name,
        "dtype": str(job.dtype),
        "compute_dtype": str(planned.compute_dtype),
        "device": job.device,
    }


def _account(
    job: Job, planned: Plan, skeleton: Skeleton, journal: Journal, index: dict[str, Any], warnings: list[str], s: float
) -> manifest.Manifest:
    records = journal.records
    sizes = [r.shape[0] * r.shape[1] for r in records]
    before = sum(_numel(info.shape) for info in skeleton.checkpoint.tensors.values())
    zeros = sum(round(r.sparsity * n) for r, n in zip(records, sizes, strict=True))
    factored = sum(n - r.rank * sum(r.shape) for r, n in zip(records, sizes, strict=True) if r.rank is not None)
    if planned.format.name == "dense" and zeros > 0.01 * sum(sizes):
        warnings.append(
            "The zeros are stored like any other number: this file is as large as the dense one and runs no faster "
            "with stock loaders."
        )
    unit = "float16" if skeleton.config.dtype is None else str(skeleton.config.dtype).removeprefix("torch.")
    totals = manifest.Totals(
        bytes_on_disk_before=planned.bytes_before,
        bytes_on_disk=sum(p.stat().st_size for p in job.out.glob("*.safetensors")),
        parameters_before=before,
        parameters=before - factored,
        nonzero_parameters=before - zeros,
        memory_bytes_before=sum(info.n_bytes for info in skeleton.checkpoint.tensors.values()),
        memory_bytes=index["metadata"]["total_size"],
        compressed_bits_per_weight=sum(r.bits_per_weight * n for r, n in zip(records, sizes, strict=True)) / sum(sizes),
        compressed_sparsity=zeros / sum(sizes),
        sparsity=zeros / before,
        mean_relative_output_error=manifest.mean_error(records),
        peak_rss_bytes=_peak_rss(),
        seconds=round(s, 2),
    )
    calibration = None
    if job.calibration is not None:
        c = job.calibration
        calibration = manifest.CalibrationRecord(
            source=c.source,
            revision=c.revision,
            sequences=len(c.tokens),
            seq_len=c.tokens.shape[1],
            seed=job.seed,
            tokens_sha256=c.sha256,
        )
    return manifest.Manifest(
        source=manifest.Source(
            model=str(job.model),
            architecture=type(skeleton.model).__name__,
            sha256=skeleton.checkpoint.sha256,
            dtype=unit,
        ),
        stages=[as_stage(method) for method in job.stages],
        format=planned.format.name,
        dtype=unit if job.dtype is None else str(job.dtype).removeprefix("torch."),
        compute_dtype=str(planned.compute_dtype).removeprefix("torch."),
        device=job.device,
        calibration=calibration,
        command=job.command,
        packages=manifest.packages(),
        machine=manifest.machine(job.device),
        totals=totals,
        matrices=records,
        warnings=warnings,
    )


def _numel(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _peak_rss() -> int:
    """The largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
