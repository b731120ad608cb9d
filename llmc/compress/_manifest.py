"""The account of a compression that stands beside the checkpoint: `llmc_manifest.json`."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from llmc.errors import UserError

NAME = "llmc_manifest.json"
PACKAGES = ("llmc", "torch", "transformers", "safetensors", "compressed-tensors", "numpy")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MatrixRecord(_Strict):
    """What happened to one weight matrix."""

    name: str
    block: int | None
    """None: outside the blocks, an embedding or a head."""
    kind: str
    """The matrix's name within its block."""
    shape: tuple[int, int]
    """(out, in)."""
    sparsity: float
    """Fraction of weights that are exactly zero now."""
    sparsity_before: float
    bits_per_weight: float
    relative_output_error: float | None
    """||(W - V) X||^2 / ||W X||^2 over the calibration inputs."""
    error_over_tokens: int
    """How many calibration tokens the error was measured on."""
    n_tokens: int
    damping: float | None
    rank: int | None
    stored_as: str
    """The format this matrix is stored in."""
    seconds: float
    warnings: list[str]
    bits: int | None = None
    """Bits of a code, None for what isn't quantised."""
    group_size: int | None = None
    """Columns that share a scale, -1 for a whole row."""
    relative_weight_error: float | None = None
    """||W - V||^2 / ||W||^2, for embeddings and heads alone."""


class Totals(_Strict):
    """Sums before and after."""

    bytes_on_disk_before: int
    bytes_on_disk: int
    parameters_before: int
    parameters: int
    nonzero_parameters: int
    memory_bytes_before: int
    memory_bytes: int
    """Bytes of all tensors as stored; a loader that unpacks them needs more."""
    compressed_bits_per_weight: float
    """Mean over the compressed matrices, weighted by their size, in the best plain storage of each."""
    compressed_sparsity: float
    sparsity: float
    """Zeros among all parameters of the model, embeddings and norms included."""
    mean_relative_output_error: float | None
    peak_rss_bytes: int
    seconds: float


class Source(_Strict):
    """The dense model that was compressed."""

    model: str
    architecture: str
    sha256: str
    dtype: str


class CalibrationRecord(_Strict):
    """The text that the statistics were taken on."""

    source: str
    revision: str | None
    sequences: int
    seq_len: int
    seed: int
    tokens_sha256: str


class Manifest(_Strict):
    """Everything that a reader needs in order to know what was done and to do it again."""

    schema_version: int = 1
    source: Source
    stages: list[dict[str, Any]]
    embeddings: int | None = None
    """Bits of the token embedding and the head; None where they weren't quantised."""
    format: str
    dtype: str
    compute_dtype: str
    device: str
    calibration: CalibrationRecord | None
    command: list[str] | None
    packages: dict[str, str]
    machine: dict[str, str]
    totals: Totals
    matrices: list[MatrixRecord]
    warnings: list[str]


def packages() -> dict[str, str]:
    """The versions of what took part."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, str]:
    """What the work ran on."""
    from llmc.ops.product import by_onednn  # torch: not for those who only read a manifest

    processor = platform.processor() or platform.machine()
    products = "oneDNN" if by_onednn() else "torch"
    return {"system": platform.system(), "processor": processor, "float32_products": products, "device": device}


def read_manifest(directory: str | Path) -> Manifest:
    """The manifest of a compressed checkpoint; a `UserError` when there is none or it is not one of ours."""
    path = Path(directory) / NAME
    if not path.is_file():
        unfinished = (Path(directory) / ".llmc").is_dir()
        raise UserError(
            f"{directory} {'is an unfinished compression' if unfinished else f'holds no {NAME}'}",
            hint="run its command again with --resume" if unfinished else "give a directory that llmc compress wrote",
        )
    try:
        return Manifest.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        raise UserError(f"{path} is not a manifest of this version: {str(error).splitlines()[0]}") from error


def mean_error(records: Sequence[MatrixRecord]) -> float | None:
    """The unweighted mean of the matrices' relative output errors; None when none was measured."""
    errors = [r.relative_output_error for r in records if r.relative_output_error is not None]
    return sum(errors) / len(errors) if errors else None
