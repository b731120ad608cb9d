"""The account of a compression that stands beside the checkpoint: `llmc_manifest.json`."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from llmc.checksums import FileFacts, seal_holds, sealed
from llmc.errors import UserError

NAME = "llmc_manifest.json"
PACKAGES = ("llmc", "torch", "transformers", "safetensors", "compressed-tensors", "numpy")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class MatrixRecord(_Strict):
    """What happened to one weight matrix."""

    name: str
    block: int
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
    files: dict[str, str] | None = None
    """sha256 of what stood beside its weights, by name; None in manifests of before llmc kept checksums."""


class CalibrationRecord(_Strict):
    """The text that the statistics were taken on."""

    source: str
    revision: str | None
    sequences: int
    seq_len: int
    seed: int
    tokens_sha256: str


class WrittenFile(_Strict):
    """One file as it was written."""

    bytes: int
    sha256: str


class Manifest(_Strict):
    """Everything that a reader needs in order to know what was done and to do it again."""

    schema_version: int = 1
    source: Source
    stages: list[dict[str, Any]]
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
    max_shard_bytes: int | None = None
    files: dict[str, WrittenFile] | None = None
    """Every other file of the folder, by name; None in manifests of before llmc kept checksums."""
    seal: str | None = None
    """sha256 of all the other keys."""

    def sealed(self) -> Manifest:
        """The same with its seal, as it is written."""
        return Manifest.model_validate(sealed(self.model_dump(mode="json")))

    @property
    def written(self) -> dict[str, FileFacts] | None:
        """`files` as `llmc.checksums` reads them."""
        if self.files is None:
            return None
        return {name: FileFacts(each.bytes, each.sha256) for name, each in self.files.items()}


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
        content = json.loads(path.read_text(encoding="utf-8"))
        found = Manifest.model_validate(content)
    except (ValueError, ValidationError) as error:
        raise UserError(f"{path} is not a manifest of this version: {str(error).splitlines()[0]}") from error
    if seal_holds(content) is False:
        raise UserError(f"{path} has changed since it was written", hint="compress again, with --overwrite")
    return found


def mean_error(records: Sequence[MatrixRecord]) -> float | None:
    """The unweighted mean of the matrices' relative output errors; None when none was measured."""
    errors = [r.relative_output_error for r in records if r.relative_output_error is not None]
    return sum(errors) / len(errors) if errors else None
