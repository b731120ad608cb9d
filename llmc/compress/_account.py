"""The account of a finished job: totals before and after, and everything needed to do it again."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from typing import Any

from llmc.compress import _manifest as manifest
from llmc.compress._journal import Journal
from llmc.compress._plan import Job, Plan
from llmc.compress._recipe import as_stage
from llmc.models.skeleton import Skeleton


def account_of(
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
