"""What `llmc bench` does before and after the measuring: check everything, write everything whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from llmc.errors import UserError, quoted, unknown
from llmc.evaluate.speed.bench import bench, run_record
from llmc.evaluate.speed.speed import SpeedSettings
from llmc.evaluate.speed.speed_process import Subject
from llmc.files import replace_text
from llmc.folders.lock import take
from llmc.folders.marker import told
from llmc.folders.output import refuse_writer
from llmc.folders.output_file import check_output_file
from llmc.harmless import json_text
from llmc.jobs.resolve import resolve
from llmc.kernels.fast_linear import computes_bfloat16_natively
from llmc.models.checkpoint import Checkpoint
from llmc.models.load import pick_device
from llmc.models.packed import Kernels
from llmc.runs.writer import Run

Report = Callable[[int, int, str], None]
MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class BenchJob:
    """Everything that `llmc bench` was told."""

    models: tuple[str, ...]
    out: Path | None = None
    into: tuple[Path, ...] = ()
    device: str = "auto"
    dtype: str = "auto"
    kernels: Kernels = "fast"
    n_threads: int | None = None

    def __post_init__(self) -> None:
        if self.kernels not in get_args(Kernels):
            raise unknown("kernels", self.kernels, get_args(Kernels))
        dtype = getattr(torch, self.dtype, None)
        if self.dtype != "auto" and not (
            isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize > 1
        ):
            raise unknown("dtype", self.dtype, ("auto", "float32", "bfloat16", "float16"))
        if self.n_threads is not None and not 1 <= self.n_threads <= MOST_THREADS:
            raise UserError(f"--threads must be at least 1 and at most {MOST_THREADS}, got {quoted(self.n_threads)}")
        if self.into and len(self.into) != len(self.models):
            raise UserError(
                f"{len(self.models)} models and {len(self.into)} runs",
                hint="give --into once for each model, in the models' order",
            )


def run(job: BenchJob, settings: SpeedSettings, report: Report) -> dict[str, Any]:
    """The timings of the job's models, which are then also in its files."""
    directories = [resolve(model) for model in job.models]
    for directory in directories:
        Checkpoint(directory)
    _check_runs(directories, job.into)
    if job.out is not None and not job.out.parent.is_dir():
        raise UserError(f"{job.out.parent} is no directory", hint="give --out a file in one that exists")
    if job.out is not None and job.out.is_dir():
        raise UserError(f"{job.out} is a directory", hint="give --out a file")
    if job.out is not None:
        check_output_file(job.out, partial(_is_bench, key="models"), "--out")
    for folder in job.into:
        check_output_file(folder / "bench.json", partial(_is_bench, key="metrics"), "--into")
        refuse_writer(folder)
    device = pick_device(job.device)
    dtype = job.dtype if job.dtype != "auto" else _dtype(device)
    subjects = [
        Subject(directory=d, device=device, dtype=dtype, kernels=job.kernels, n_threads=job.n_threads)
        for d in directories
    ]
    result = bench(subjects, settings, report)
    if job.out is not None:
        _write(job.out, result)
    for i, folder in enumerate(job.into):
        lock = take(folder)
        try:
            _write(folder / "bench.json", run_record(result, i))
            told(folder, "bench.json")
        finally:
            lock.release()
    return result


def _is_bench(content: bytes, key: str) -> bool:
    """Whether a file is what a bench has written: only such a file is replaced."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() >= {"schema", "session", "machine", "settings", key}


def _dtype(device: str) -> str:
    """bfloat16 wherever the device computes in it, for all models alike."""
    return "bfloat16" if device != "cpu" or computes_bfloat16_natively() else "float32"


def _check_runs(directories: Sequence[Path], runs: Sequence[Path]) -> None:
    """Raises `UserError` for a folder that isn't the finished run of the model that it is to get the timings of."""
    for directory, folder in zip(directories, runs, strict=False):
        run = Run(folder)
        model = run.manifest.get("model") or {}
        if model.get("sha256") != Checkpoint(directory).sha256:
            raise UserError(
                f"{folder} is a run of {model.get('id')}, whose weights are not those of {directory}",
                hint="give the runs in the order of the models",
            )


def _write(path: Path, content: dict[str, Any]) -> None:
    replace_text(path, json_text(content, indent=1, sort_keys=True) + "\n")
