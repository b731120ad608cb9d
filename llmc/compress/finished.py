"""A finished output directory: what its files are, whether they still are, and whose job made them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmc.checksums import described, not_as_written
from llmc.compress import manifest
from llmc.compress.account import stored_dtype
from llmc.compress.finish import copy_companions
from llmc.compress.plan import Job, Plan
from llmc.compress.recipe import as_stage
from llmc.compress.walk.journal import Journal
from llmc.compress.walk.writer import WORK, write_index, write_json
from llmc.errors import UserError
from llmc.models.checkpoint import INDEX
from llmc.models.folder import companions
from llmc.models.identity import arithmetic, code_sha256, small_files, versions, what_changed
from llmc.models.skeleton import Skeleton

logger = logging.getLogger(__name__)

CODE = ("ops", "kernels", "models", "data", "compress")
"""The subpackages that decide the bytes of a result."""


def fingerprint(job: Job, planned: Plan, skeleton: Skeleton) -> dict[str, Any]:
    """Everything that decides the bytes of the result, by the names that a person is told."""
    return {
        "model": skeleton.checkpoint.sha256,
        "files": small_files(job.model),
        **_settings(job, planned),
        "dtype": str(job.dtype),
        "compute_dtype": str(planned.compute_dtype),
        "device": job.device,
        "versions": versions(),
        "code of llmc": code_sha256(CODE),
        "arithmetic": arithmetic(job.device) if _sums(job) else {},
    }


def _settings(job: Job, planned: Plan) -> dict[str, Any]:
    return {
        "stages": [as_stage(method) for method in job.stages],
        "calibration": None if job.calibration is None else job.calibration.sha256,
        "format": planned.format.name,
        "embeddings": job.embeddings,
        "--max-shard-gb": job.max_shard_bytes / 1e9,
    }


def _sums(job: Job) -> bool:
    """Whether the machine's order of sums can show: not where each weight is rounded or dropped by itself."""
    return job.calibration is not None or any(method.kind == "low-rank" for method in job.stages)


def write_manifest(account: manifest.Manifest, job: Job, journal: Journal) -> manifest.Manifest:
    """Writes the manifest as the folder's last file, with the facts of all the others; gives it back as written."""
    names = [path.as_posix() for path in companions(job.model)]
    names += ["config.json", *journal.shards, *([INDEX] if len(journal.shards) > 1 else [])]
    files = {k: manifest.WrittenFile(**v) for k, v in described(job.out, names, journal.shards).items()}
    whole = account.model_copy(update={"files": files}).sealed()
    write_json(job.out / manifest.NAME, whole.model_dump(mode="json"))
    return whole


def damaged(directory: Path) -> bool:
    """Whether the manifest of a job under way isn't what was written, so that the journal has to tell the rest."""
    try:
        manifest.read_manifest(directory)
    except UserError:
        if (directory / WORK).is_dir():  # killed between the manifest and the tidying
            return True
        raise
    return False


def finished(job: Job, planned: Plan, skeleton: Skeleton) -> tuple[manifest.Manifest, dict[str, str]]:
    """The manifest of a finished directory, and what is wrong with its files, by name.

    Sizes are compared, and with `job.verify` checksums. Raises `UserError` if another job than this one made it.
    """
    account = manifest.read_manifest(job.out)
    _refuse_another(job, planned, skeleton, account)
    return account, not_as_written(job.out, account.written or {}, contents=job.verify)


def refuse_wrong(directory: Path, wrong: Mapping[str, str]) -> None:
    """Raises `UserError` for the first file of a directory that can't be mended."""
    for name, said in wrong.items():
        raise UserError(f"{directory} is damaged: {name} {said}", hint="compress again, with another --out")


def put_back(job: Job, planned: Plan, account: manifest.Manifest, wrong: Mapping[str, str]) -> bool:
    """Makes the small files anew that are not as they were written; False where weights have to be made again."""
    for name, said in wrong.items():
        logger.warning("%s/%s %s: it is made again", job.out, name, said)
    shards = [name for name in account.written or () if name.endswith(".safetensors")]
    if not wrong.keys().isdisjoint(shards):
        return False
    if not wrong.keys() <= {INDEX, "config.json"}:
        copy_companions(job.model, job.out)
    if "config.json" in wrong:
        write_json(job.out / "config.json", planned.config)
    if INDEX in wrong:
        write_index(job.out, shards)
    return not not_as_written(job.out, account.written or {})


def begin_again(directory: Path) -> None:
    """Takes away what makes a directory a finished one, so that a kill leaves an unfinished one."""
    for name in (manifest.NAME, "config.json"):
        (directory / name).unlink(missing_ok=True)


def _refuse_another(job: Job, planned: Plan, skeleton: Skeleton, account: manifest.Manifest) -> None:
    now = {
        "model": skeleton.checkpoint.sha256,
        "method or settings": json.loads(json.dumps([as_stage(method) for method in job.stages])),
        "calibration": job.calibration and job.calibration.sha256,
        "format": planned.format.name,
        "number of bits for the embeddings": job.embeddings,
        "dtype": stored_dtype(job, skeleton),
        "files": small_files(job.model),
        "--max-shard-gb": job.max_shard_bytes / 1e9,
    }
    then = {
        "model": account.source.sha256,
        "method or settings": account.stages,
        "calibration": account.calibration and account.calibration.tokens_sha256,
        "format": account.format,
        "number of bits for the embeddings": account.embeddings,
        "dtype": account.dtype,
        "files": now["files"] if account.source.files is None else account.source.files,
        "--max-shard-gb": now["--max-shard-gb"] if account.max_shard_bytes is None else account.max_shard_bytes / 1e9,
    }
    if (changed := what_changed(then, now)) is not None:
        raise UserError(
            f"{job.out} is finished, and was made with another {changed}",
            hint="choose another --out, or start anew with --overwrite",
        )
