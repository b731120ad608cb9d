"""One compression from a directory to a directory: checks everything first, walks, then finishes the files."""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import closing
from functools import partial
from typing import Any

import torch

from llmc.compress import manifest
from llmc.compress.account import account_of
from llmc.compress.finish import copy_companions, final_config
from llmc.compress.finished import begin_again, damaged, fingerprint, finished, put_back, refuse_wrong, write_manifest
from llmc.compress.format import Stored, asked_of_stock
from llmc.compress.loadable import check_written
from llmc.compress.plan import Job, Plan, plan
from llmc.compress.table_trial import try_small_tables
from llmc.compress.trial import try_small_copy
from llmc.compress.verify import check_blocks
from llmc.compress.walk.journal import BEFORE_CHECKSUMS, Journal
from llmc.compress.walk.walk import Progress, Walk
from llmc.compress.walk.writer import PARTS, SHARDS, WORK, WORKING, ShardWriter, disk_errors, write_json
from llmc.errors import UserError
from llmc.files import check_place
from llmc.folders.exchange import pending
from llmc.folders.foreign import refuse_foreign
from llmc.folders.marker import NAME, Kind, Marker, job_id, new_marker
from llmc.folders.output import Output, State, look, refuse_writer
from llmc.folders.place import check_out as check_place_of
from llmc.models.folder import companions
from llmc.models.skeleton import Skeleton

KIND: Kind = "compress"
logger = logging.getLogger(__name__)

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
    if look(job.out, KIND)[0] is State.UNMARKED:  # of an llmc that did not mark its folders: read, left as it is
        account, wrong = finished(job, planned, skeleton)
        refuse_wrong(job.out, wrong)
        return account
    check_place(job.out, _needed(job, planned))
    marker = new_marker(KIND, job_id(fingerprint(job, planned, skeleton)), writes=WORKING)
    output = Output(job.out, marker, partial(_admit, job), resume=job.resume, overwrite=job.overwrite)
    with disk_errors(job.out):
        output.__enter__()
    with closing(output):
        job = dataclasses.replace(job, out=output.folder)
        account = _found(job, skeleton, planned, output) or _made(job, skeleton, planned, progress, output)
        with disk_errors(job.out):
            output.drop(WORKING)
            output.finish(untold=[manifest.NAME], known=account.written or {})
    return account


def _found(job: Job, skeleton: Skeleton, planned: Plan, output: Output) -> manifest.Manifest | None:
    """The manifest of what is there already, small files put back; None where weights have to be made."""
    if not (job.out / manifest.NAME).exists():  # the last file that is written
        return None
    if damaged(job.out):
        return None
    account, wrong = finished(job, planned, skeleton)
    if not wrong:
        return account
    with disk_errors(job.out):
        output.reopen()
        return account if put_back(job, planned, account, wrong) else None


def _made(job: Job, skeleton: Skeleton, planned: Plan, progress: Progress, output: Output) -> manifest.Manifest:
    start = time.perf_counter()
    with disk_errors(job.out):
        if output.marker.finished:
            output.reopen()
        output.will_write(WORKING)
    writer = ShardWriter(job.out, job.max_shard_bytes)
    journal = Journal(job.out, fingerprint(job, planned, skeleton))
    if (lost := journal.load(calibrated=job.calibration is not None)) is not None:
        logger.warning("%s: %s: compression starts over", job.out, lost)
    with disk_errors(job.out):
        begin_again(job.out)
    walk = Walk(
        skeleton, job.stages, planned.format, writer, journal, tables=planned.tables, dtype=job.dtype,
        device=job.device, hear=job.hear,
    )  # fmt: skip
    walk.run(_batches(job), progress)
    output.will_write([*SHARDS, "config.json", manifest.NAME, *(str(path) for path in companions(job.model))])
    index = writer.join(journal)
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
        account = write_manifest(account, job, journal)
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
    check_place_of(job.out, {"the model": job.model})
    if job.resume and job.overwrite:
        raise UserError("--resume and --overwrite exclude each other", hint="give one of them")
    _admit(job, *look(job.out, KIND))
    refuse_writer(job.out)


def _admit(job: Job, state: State, marker: Marker | None) -> None:
    """Raises `UserError` where the job does not take its output directory as it is."""
    out = job.out
    if state is State.UNMARKED:
        _admit_unmarked(job)
    elif marker is not None and state is State.BEGUN:
        if not job.resume and not job.overwrite:
            raise UserError(f"{out} holds an unfinished run", hint="go on with --resume, or use --overwrite")
        refuse_foreign(out, marker, option="--resume" if job.resume else "--overwrite")
    elif marker is not None and job.overwrite:
        refuse_foreign(out, marker, option="--overwrite")
    elif marker is not None and not job.resume:
        raise UserError(f"{out} exists and is not empty", hint="use --overwrite to replace it")


def _admit_unmarked(job: Job) -> None:
    """Of folders without a marker only a finished one is taken, by `--resume`, which reads it and changes nothing."""
    out = job.out
    if (out / WORK / BEFORE_CHECKSUMS).is_file() or (out / WORK / PARTS).is_dir():
        raise UserError(
            f"{out} holds what an llmc left half-made that did not mark its folders yet",
            hint="remove it or finish it with that version, or choose another --out",
        )
    if not (out / manifest.NAME).is_file():
        raise UserError(f"{out} holds something that llmc did not make", hint="choose another --out")
    if job.overwrite:
        raise UserError(
            f"{out} has no {NAME} that says what llmc wrote there, so --overwrite can't tell what is its own",
            hint="move it away or choose another --out",
        )
    if not job.resume:
        raise UserError(f"{out} exists and is not empty", hint="choose another --out")


def check(job: Job) -> int:
    """The bytes that the job will need beyond what lies in its directory; a `UserError` for what would stop it."""
    check_out(job)
    _, planned = plan(job)
    needed = _needed(job, planned)
    check_place(job.out, needed)
    return needed


def _needed(job: Job, planned: Plan) -> int:
    """About the bytes of the result, less those of what it goes on with."""
    bits = [s.bits for s in planned.matrices.values() if s.bits is not None]
    share = 1.0 if planned.format.name == "dense" or not bits else 0.5
    there = 0  # an old result stays until the new one is whole
    if job.resume:
        waiting = pending(job.out)
        begun = job.out if waiting is None else waiting[0]
        there = sum(path.stat().st_size for path in begun.rglob("*") if path.is_file())
    return max(0, int(planned.bytes_before * share) - there)


def _batches(job: Job) -> list[torch.Tensor]:
    if job.calibration is None:
        return []
    tokens = job.calibration.tokens
    size = max(1, TOKENS_PER_BATCH // tokens.shape[1])
    return [tokens[i : i + size] for i in range(0, len(tokens), size)]
