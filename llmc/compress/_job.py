"""One compression from a directory to a directory: checks everything first, walks, then finishes the files."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import torch

from llmc.compress import _manifest as manifest
from llmc.compress._account import account_of, stored_dtype
from llmc.compress._finish import COMPANIONS, copy_companions, final_config
from llmc.compress._journal import Journal
from llmc.compress._plan import Job, Plan, plan
from llmc.compress._recipe import as_stage
from llmc.compress._trial import try_small_copy
from llmc.compress._walk import Progress, Walk
from llmc.compress._writer import WORK, ShardWriter, disk_errors, write_json
from llmc.compress.formats._format import Stored
from llmc.errors import UserError
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
    return compress_untried(job, skeleton, planned, progress)


def _silent(done: int, total: int, doing: str) -> None:
    pass


def compress_untried(job: Job, skeleton: Skeleton, planned: Plan, progress: Progress = _silent) -> manifest.Manifest:
    """`compress` without checking the output directory and without trying a small copy first."""
    start = time.perf_counter()
    if job.resume and (job.out / manifest.NAME).exists() and not (job.out / WORK).exists():
        return _finished(job, planned, skeleton)
    _check_space(job, planned)
    _make_room(job)
    writer = ShardWriter(job.out, job.max_shard_bytes)
    journal = Journal(job.out, _fingerprint(job, planned, skeleton))
    journal.load()
    walk = Walk(
        skeleton, job.stages, planned.format, writer, journal, dtype=job.dtype, device=job.device, hear=job.hear
    )
    walk.run(_batches(job), progress)
    index = writer.join()
    stored = {name: Stored(**{**s, "shape": tuple(s["shape"])}) for name, s in journal.stored.items()}
    warnings = [*job.warnings, *(job.calibration.warnings if job.calibration else ())]
    if stored:
        warnings += planned.format.warnings(stored)
    account = account_of(job, planned, skeleton, journal, index, warnings, time.perf_counter() - start)
    with disk_errors(job.out):
        copy_companions(job.model, job.out)
        write_json(job.out / "config.json", final_config(job, planned.format, stored, skeleton))
        write_json(job.out / manifest.NAME, account.model_dump())
    writer.clean()
    return account


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
    if job.overwrite and (others := sorted(p.name for p in job.out.iterdir() if not _ours(p.name))):
        raise UserError(
            f"{job.out} holds {others[0]} as well, which llmc did not write and --overwrite would remove",
            hint="move it away or choose another --out",
        )
    if not job.resume and not job.overwrite:
        if begun:
            raise UserError(f"{job.out} holds an unfinished run", hint="go on with --resume, or use --overwrite")
        raise UserError(f"{job.out} exists and is not empty", hint="use --overwrite to replace it")


def _ours(name: str) -> bool:
    """Whether a compression writes a file of this name."""
    plain = name.removesuffix(".tmp")
    shard = plain.startswith("model") and plain.endswith((".safetensors", ".safetensors.index.json"))
    return shard or plain in {WORK, manifest.NAME, "config.json", *COMPANIONS}


def _finished(job: Job, planned: Plan, skeleton: Skeleton) -> manifest.Manifest:
    """The manifest of the finished directory; a `UserError` if another job than this one made it."""
    account = manifest.read_manifest(job.out)
    stages = [as_stage(method) for method in job.stages]
    made = {
        "model": (account.source.sha256, skeleton.checkpoint.sha256),
        "method or settings": (account.stages, json.loads(json.dumps(stages))),
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


def _check_space(job: Job, planned: Plan) -> None:
    place = job.out.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if job.overwrite and job.out.exists():
        free += sum(path.stat().st_size for path in job.out.rglob("*") if path.is_file())
    bits = [s.bits for s in planned.matrices.values() if s.bits is not None]
    share = 1.0 if planned.format.name == "dense" or not bits else 0.5
    needed = int(planned.bytes_before * share)
    if free < needed:
        raise UserError(
            f"{job.out} has {_amount(free)} free and about {_amount(needed)} are needed",
            hint="free some space or choose another --out",
        )


def _amount(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"


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
