"""One compression from a directory to a directory: checks everything first, walks, then finishes the files."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import torch

from llmc.compress import _manifest as manifest
from llmc.compress._account import account_of, stored_dtype
from llmc.compress._finish import copy_companions, final_config
from llmc.compress._journal import Journal
from llmc.compress._loadable import check_written
from llmc.compress._plan import Job, Plan, plan
from llmc.compress._recipe import as_stage
from llmc.compress._table_trial import try_small_tables
from llmc.compress._trial import try_small_copy
from llmc.compress._verify import check_blocks
from llmc.compress._walk import Progress, Walk
from llmc.compress._writer import WORK, ShardWriter, disk_errors, write_json
from llmc.compress.formats._format import Stored, asked_of_stock
from llmc.errors import UserError
from llmc.files import check_place
from llmc.models.folder import companions
from llmc.models.skeleton import Skeleton

TOKENS_PER_BATCH = 2048
"""Calibration tokens that go through a block at once: enough to fill the matrix units, and few enough that malloc
reuses a block's activations (4096 tokens of width 2048 in float32 took a fifth longer)."""


def compress(job: Job, progress: Progress) -> manifest.Manifest:
    """Runs the job and returns its manifest, which is also the last file written.

    Raises `UserError` for everything a user can mend. After a kill at any instant, the same job with `resume` ends
    in the same bytes.
    """
    check_out(job)
    skeleton, planned = plan(job)
    if job.calibration is not None:
        untried = try_small_copy(skeleton.config, job.stages, lambda small: compress_untried(small, *plan(small)))
        job.warnings += [untried] if untried else []
    if planned.tables and planned.format.name != "dense":
        untried = try_small_tables(skeleton.config, job, lambda small: compress_untried(small, *plan(small)))
        job.warnings += [untried] if untried else []
    return compress_untried(job, skeleton, planned, progress)


def _silent(done: int, total: int, doing: str) -> None:
    pass


def compress_untried(job: Job, skeleton: Skeleton, planned: Plan, progress: Progress = _silent) -> manifest.Manifest:
    """`compress` without checking the output directory and without trying a small copy first."""
    start = time.perf_counter()
    if job.resume and (job.out / manifest.NAME).exists() and not (job.out / WORK).exists():
        return _finished(job, planned, skeleton)
    check_place(job.out, _needed(job, planned))
    _make_room(job)
    writer = ShardWriter(job.out, job.max_shard_bytes)
    journal = Journal(job.out, _fingerprint(job, planned, skeleton))
    journal.load()
    walk = Walk(
        skeleton, job.stages, planned.format, writer, journal, tables=planned.tables, dtype=job.dtype,
        device=job.device, hear=job.hear,
    )  # fmt: skip
    walk.run(_batches(job), progress)
    index = writer.join()
    stored = {name: Stored(**{**s, "shape": tuple(s["shape"])}) for name, s in journal.stored.items()}
    config = final_config(job, planned.format, stored, skeleton)
    if job.check:
        _check(job, planned, journal, stored, config)
    warnings = [*job.warnings, *(job.calibration.warnings if job.calibration else ())]
    if stored:
        warnings += planned.format.warnings(stored)
    account = account_of(job, planned, skeleton, journal, index, warnings, time.perf_counter() - start)
    with disk_errors(job.out):
        copy_companions(job.model, job.out)
        write_json(job.out / "config.json", config)
        write_json(job.out / manifest.NAME, account.model_dump())
    writer.clean()
    return account


def _check(job: Job, planned: Plan, journal: Journal, stored: dict[str, Stored], config: dict[str, Any]) -> None:
    """Raises `UserError` unless the written files give every loader the blocks that stood in memory."""
    source = Skeleton(job.model, planned.compute_dtype)
    asked = asked_of_stock(stored)
    unread = {name: s for name, s in stored.items() if name not in asked}
    stock_config = final_config(job, planned.format, asked, source) if unread else config
    check_written(job, planned.format, source, planned.loading, stock_config, unread)
    check_blocks(
        source, job.out, config.get("quantization_config") if stored else None,
        {name: s.shape for name, s in stored.items()}, journal.prints,
        next(iter(_batches(job)), None),
        dtype=planned.compute_dtype, device=job.device,
    )  # fmt: skip


def check_out(job: Job) -> None:
    """Raises `UserError` unless the output directory is new, ours to go on with, or ours to replace."""
    if job.out.resolve() == job.model.resolve():
        raise UserError("--out is the model itself", hint="choose another directory")
    if job.resume and job.overwrite:
        raise UserError("--resume and --overwrite exclude each other", hint="give one of them")
    if job.out.exists() and not job.out.is_dir():
        raise UserError(f"{job.out} is a file", hint="choose another --out")
    if not job.out.exists() or not any(job.out.iterdir()):
        return
    begun, finished = (job.out / WORK).is_dir(), (job.out / manifest.NAME).exists()
    if not begun and not finished:
        raise UserError(f"{job.out} holds something that llmc did not make", hint="choose another --out")
    written = {path.parts[0] for path in companions(job.model)} if job.overwrite else set()
    if job.overwrite and (others := sorted(p.name for p in job.out.iterdir() if not _ours(p.name, written))):
        raise UserError(
            f"{job.out} holds {others[0]} as well, which llmc did not write and --overwrite would remove",
            hint="move it away or choose another --out",
        )
    if not job.resume and not job.overwrite:
        if begun:
            raise UserError(f"{job.out} holds an unfinished run", hint="go on with --resume, or use --overwrite")
        raise UserError(f"{job.out} exists and is not empty", hint="use --overwrite to replace it")


def _ours(name: str, written: set[str]) -> bool:
    """Whether a compression writes a file of this name, `written` being what it carries along."""
    plain = name.removesuffix(".tmp")
    shard = plain.startswith("model") and plain.endswith((".safetensors", ".safetensors.index.json"))
    return shard or plain in {WORK, manifest.NAME, "config.json", *written}


def _finished(job: Job, planned: Plan, skeleton: Skeleton) -> manifest.Manifest:
    """The manifest of the finished directory; a `UserError` if another job than this one made it."""
    account = manifest.read_manifest(job.out)
    stages = [as_stage(method) for method in job.stages]
    made = {
        "model": (account.source.sha256, skeleton.checkpoint.sha256),
        "method or settings": (account.stages, json.loads(json.dumps(stages))),
        "number of bits for the embeddings": (account.embeddings, job.embeddings),
        "calibration": (
            account.calibration and account.calibration.tokens_sha256,
            job.calibration and job.calibration.sha256,
        ),
        "format": (account.format, planned.format.name),
        "dtype": (account.dtype, stored_dtype(job, skeleton)),
    }
    for what, (then, now) in made.items():
        if then != now:
            raise UserError(
                f"{job.out} is finished, and was made with another {what}",
                hint="choose another --out, or start anew with --overwrite",
            )
    return account


def _make_room(job: Job) -> None:
    with disk_errors(job.out):
        if job.overwrite and job.out.exists():
            shutil.rmtree(job.out)
        job.out.mkdir(parents=True, exist_ok=True)


def check(job: Job) -> int:
    """The bytes that the job will need beyond what lies in its directory; a `UserError` for what would stop it."""
    check_out(job)
    _, planned = plan(job)
    needed = _needed(job, planned)
    check_place(job.out, needed)
    return needed


def _needed(job: Job, planned: Plan) -> int:
    """About the bytes of the result, less those of what it replaces or goes on with."""
    bits = [s.bits for s in planned.matrices.values() if s.bits is not None]
    share = 1.0 if planned.format.name == "dense" or not bits else 0.5
    there = 0
    if (job.overwrite or job.resume) and job.out.exists():
        there = sum(path.stat().st_size for path in job.out.rglob("*") if path.is_file())
    return max(0, int(planned.bytes_before * share) - there)


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
        "embeddings": job.embeddings,
        "dtype": str(job.dtype),
        "compute_dtype": str(planned.compute_dtype),
        "device": job.device,
    }
