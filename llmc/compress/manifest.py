"""The account of a compression that stands beside the checkpoint: `llmc_manifest.json`."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llmc.checksums import FileFacts, seal_holds, sealed
from llmc.errors import UserError, quoted
from llmc.reading.json_text import json_object

NAME = "llmc_manifest.json"
LONGEST = 200 * 10**6
"""Bytes of a manifest at most: a model of 100,000 experts has one of 50 MB."""
PACKAGES = ("llmc", "torch", "transformers", "safetensors", "compressed-tensors", "numpy")


Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e15)]
Count = Annotated[int, Field(ge=0, lt=2**60)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class MatrixRecord(_Strict):
    """What happened to one weight matrix."""

    name: str
    block: Count | None
    """None: outside the blocks, an embedding or a head."""
    kind: str
    """The matrix's name within its block."""
    shape: Annotated[tuple[Count, Count], Field(strict=False)]
    """(out, in)."""
    sparsity: Share
    """Fraction of weights that are exactly zero now."""
    sparsity_before: Share
    bits_per_weight: Amount
    relative_output_error: Annotated[float, Field(ge=0)] | None
    """||(W - V) X||^2 / ||W X||^2 over the calibration inputs."""
    error_over_tokens: Count
    """How many calibration tokens the error was measured on."""
    n_tokens: Count
    damping: Amount | None
    rank: Count | None
    stored_as: str
    """The format this matrix is stored in."""
    seconds: Amount
    warnings: list[str]
    bits: Count | None = None
    """Bits of a code, None for what isn't quantised."""
    group_size: Annotated[int, Field(ge=-1)] | None = None
    """Columns that share a scale, -1 for a whole row."""
    relative_weight_error: Amount | None = None
    """||W - V||^2 / ||W||^2, for embeddings and heads alone."""


class Totals(_Strict):
    """Sums before and after."""

    bytes_on_disk_before: Count
    bytes_on_disk: Count
    parameters_before: Count
    parameters: Count
    nonzero_parameters: Count
    memory_bytes_before: Count
    memory_bytes: Count
    """Bytes of all tensors as stored; a loader that unpacks them needs more."""
    compressed_bits_per_weight: Amount
    """Mean over the compressed matrices, weighted by their size, in the best plain storage of each."""
    compressed_sparsity: Share
    sparsity: Share
    """Zeros among all parameters of the model, embeddings and norms included."""
    mean_relative_output_error: Annotated[float, Field(ge=0)] | None
    peak_rss_bytes: Count
    seconds: Amount


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
    sequences: Count
    seq_len: Count
    seed: Count
    tokens_sha256: str


class Stage(BaseModel):
    """What is shown of a method and its settings; it has others, which are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    method: str
    pattern: str | None = None
    sparsity: Share | None = None
    bits: Count | None = None
    group_size: Annotated[int, Field(ge=-1)] | None = None
    rank: Count | None = None
    rank_ratio: Share | None = None


class WrittenFile(_Strict):
    """One file as it was written."""

    bytes: Count
    sha256: str


class Manifest(_Strict):
    """Everything that a reader needs in order to know what was done and to do it again."""

    schema_version: Literal[1] = 1
    source: Source
    stages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    embeddings: Annotated[int, Field(ge=4, le=8)] | None = None
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

    @field_validator("stages")
    @classmethod
    def _named(cls, stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for stage in stages:
            Stage.model_validate(stage)
        return stages


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
        content = json_object(path, at_most=LONGEST)
        found = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        said = f"{where} is {quoted(first['input'])}: {first['msg'].lower()}"
        raise UserError(f"{path} is not a manifest of this version: {said}", hint="compress the model again") from None
    if seal_holds(content) is False:
        raise UserError(f"{path} has changed since it was written", hint="compress again, with --overwrite")
    return found


def mean_error(records: Sequence[MatrixRecord]) -> float | None:
    """The unweighted mean of the matrices' relative output errors; None when none was measured."""
    errors = [r.relative_output_error for r in records if r.relative_output_error is not None]
    return sum(errors) / len(errors) if errors else None
