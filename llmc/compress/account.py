"""The account of a finished job: totals before and after, and everything needed to do it again."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmc.compress import manifest
from llmc.compress.plan import Job, Plan
from llmc.compress.recipe import as_stage
from llmc.compress.walk.journal import Journal
from llmc.models.identity import small_files
from llmc.models.skeleton import Skeleton


def account_of(
    job: Job, planned: Plan, skeleton: Skeleton, journal: Journal, index: dict[str, Any], warnings: list[str], s: float
) -> manifest.Manifest:
    """The manifest of a job that has written its weights, after `s` seconds; `index` is what the writer returned."""
    return manifest.Manifest(
        source=manifest.Source(
            model=str(job.model),
            architecture=type(skeleton.model).__name__,
            sha256=skeleton.checkpoint.sha256,
            dtype=_source_dtype(skeleton),
            files=small_files(job.model),
        ),
        stages=[as_stage(method) for method in job.stages],
        embeddings=job.embeddings,
        format=planned.format.name,
        dtype=stored_dtype(job, skeleton),
        compute_dtype=str(planned.compute_dtype).removeprefix("torch."),
        device=job.device,
        calibration=_calibration(job),
        command=job.command,
        packages=manifest.packages(),
        machine=manifest.machine(job.device),
        totals=_totals(job, planned, skeleton, journal.records, index, s),
        matrices=journal.records,
        warnings=[*warnings, *_savings(planned, journal.records)],
        max_shard_bytes=job.max_shard_bytes,
    )


def stored_dtype(job: Job, skeleton: Skeleton) -> str:
    """What unquantised weights of the result are stored in."""
    return _source_dtype(skeleton) if job.dtype is None else str(job.dtype).removeprefix("torch.")


def _source_dtype(skeleton: Skeleton) -> str:
    return "float16" if skeleton.config.dtype is None else str(skeleton.config.dtype).removeprefix("torch.")


def _savings(planned: Plan, records: Sequence[manifest.MatrixRecord]) -> list[str]:
    """Plain words on what the file does not save, where a person might expect it to."""
    said = []
    zeros = sum(r.sparsity * r.shape[0] * r.shape[1] for r in records)
    if planned.format.name == "dense" and zeros > 0.01 * sum(r.shape[0] * r.shape[1] for r in records):
        said.append(
            "The zeros are stored like any other number: this file is as large as the dense one and runs no faster "
            "with stock loaders."
        )
    if any(r.rank is not None for r in records) and not any(r.stored_as == "factors" for r in records):
        said.append(
            "The low-rank products are stored multiplied out, as full matrices that load everywhere: nothing is saved "
            "on disk. --format factors keeps the thin pairs, which llmc.load reads."
        )
    return said


def _totals(
    job: Job,
    planned: Plan,
    skeleton: Skeleton,
    records: Sequence[manifest.MatrixRecord],
    index: dict[str, Any],
    seconds: float,
) -> manifest.Totals:
    sizes = [r.shape[0] * r.shape[1] for r in records]
    infos = skeleton.checkpoint.tensors.values()
    before = sum(_numel(info.shape) for info in infos)
    zeros = sum(round(r.sparsity * n) for r, n in zip(records, sizes, strict=True))
    bits = sum(r.bits_per_weight * n for r, n in zip(records, sizes, strict=True))
    saved = sum(
        n - (r.rank or 0) * sum(r.shape)
        for r, n in zip(records, sizes, strict=True)
        if r.rank is not None and r.stored_as == "factors"
    )
    return manifest.Totals(
        bytes_on_disk_before=planned.bytes_before,
        bytes_on_disk=sum(p.stat().st_size for p in job.out.glob("*.safetensors")),
        parameters_before=before,
        parameters=before - saved,
        nonzero_parameters=before - saved - zeros,
        memory_bytes_before=sum(info.n_bytes for info in infos),
        memory_bytes=index["metadata"]["total_size"],
        compressed_bits_per_weight=bits / sum(sizes),
        compressed_sparsity=zeros / sum(sizes),
        sparsity=zeros / before,
        mean_relative_output_error=manifest.mean_error(records),
        peak_rss_bytes=_peak_rss(),
        seconds=round(seconds, 2),
    )


def _calibration(job: Job) -> manifest.CalibrationRecord | None:
    found = job.calibration
    if found is None:
        return None
    return manifest.CalibrationRecord(
        source=found.source,
        revision=found.revision,
        sequences=len(found.tokens),
        seq_len=found.tokens.shape[1],
        seed=job.seed,
        tokens_sha256=found.sha256,
    )


def _numel(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _peak_rss() -> int:
    """The largest resident size of this process so far, in bytes.

    From VmHWM where there is one: `ru_maxrss` also counts the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if line is not None:
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
