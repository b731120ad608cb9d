"""Checks a finished compressed checkpoint against its own manifest: checksums, keys, shapes, dtypes, config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from llmc.checksums import not_as_written
from llmc.compress.manifest import NAME, Manifest, read_manifest
from llmc.errors import UserError
from llmc.findings import Finding
from llmc.models.checkpoint import Checkpoint
from llmc.models.config import decoder_config, read_config
from llmc.models.folder import check_folder
from llmc.models.stock_load import meta_tensors, stock_load
from llmc.models.unpacked import FACTORS
from llmc.models.unread import is_extra_prediction
from llmc.reading.quantization import RANKS


def check_checkpoint(directory: Path) -> list[Finding]:
    """What is right and what not in a folder with a manifest of `llmc compress`.

    Raises `UserError` for a folder of before llmc kept checksums, in which contents can't be told.
    """
    try:
        account = read_manifest(directory)
    except UserError as error:
        return [Finding(NAME, False, error.problem.removeprefix(f"{directory / NAME} "))]
    if account.written is None:
        raise UserError(
            f"{directory} was compressed by an older llmc, which kept no checksums", hint="compress the model again"
        )
    found = [Finding(NAME, True, "its seal holds"), *_files(directory, account)]
    try:
        checkpoint = Checkpoint(directory)
    except UserError as error:
        return [*found, Finding("weights", False, error.problem)]
    return [*found, *_tensors(checkpoint, account)]


def _files(directory: Path, account: Manifest) -> Iterator[Finding]:
    written = account.written or {}
    wrong = not_as_written(directory, written)
    if len(written) > len(wrong):
        yield Finding("files", True, f"{len(written) - len(wrong)} have the sizes and sha256 that were written")
    for name, said in wrong.items():
        yield Finding(name, False, said)
    for path in sorted(directory.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".pt") and path.name not in written:
            yield Finding(path.name, False, "is not among the files that were written, and loaders may read it")


def _tensors(checkpoint: Checkpoint, account: Manifest) -> Iterator[Finding]:
    tensors = checkpoint.tensors
    yield Finding("headers", True, f"{len(tensors)} tensors in {len(checkpoint.shards)} files, as the index says")
    for what, check in (("dtypes", _dtypes), ("shapes", _shapes), ("keys", _keys)):
        try:
            said = check(checkpoint, account)
        except UserError as error:
            yield Finding(what, False, error.problem)
        else:
            yield Finding(what, True, said)


def _dtypes(checkpoint: Checkpoint, account: Manifest) -> str:
    check_folder(checkpoint)
    return f"config.json and the weights agree, plain weights are {account.dtype}"


def _shapes(checkpoint: Checkpoint, account: Manifest) -> str:
    """A `UserError` for a matrix of the manifest that has another shape in the files."""
    plain = 0
    for record in account.matrices:
        info = checkpoint.tensors.get(f"{record.name}.weight")
        if info is None or record.stored_as != "dense":
            continue
        plain += 1
        if tuple(info.shape) not in (record.shape, record.shape[::-1]):  # some models store a matrix transposed
            raise UserError(f"{record.name} has the shape {list(info.shape)}, the manifest says {list(record.shape)}")
    return f"{plain} of {len(account.matrices)} compressed matrices are plain ones, of the manifest's shapes"


def _keys(checkpoint: Checkpoint, account: Manifest) -> str:
    """A `UserError` where transformers' loader would leave a parameter without its value, or pass a tensor over."""
    directory = checkpoint.directory
    raw = read_config(directory)
    config = decoder_config(directory, dense=False)
    quantization = raw.get("quantization_config")
    tensors = meta_tensors(checkpoint)
    if quantization is not None and "quant_method" not in quantization:
        tensors = _multiplied(tensors, quantization.get(RANKS) or {})
        del config.quantization_config
    loading = stock_load(MODEL_FOR_CAUSAL_LM_MAPPING[type(config)], config, tensors)
    unread = [name for name in loading.unread if not is_extra_prediction(name, raw)]
    name = account.source.architecture
    if loading.error is not None:
        return f"not asked: the loader of a {name} raises {loading.error}"
    for names, what in (
        (loading.mismatched, "have another shape than config.json asks for"),
        (loading.missing, f"parameters of a {name} have no tensor"),
        (unread, f"are no part of a {name}"),
    ):
        if names:
            raise UserError(f"{len(names)} {what}, the first is {names[0]}")
    return f"every parameter of a {name} has its tensor, and every tensor its parameter"


def _multiplied(tensors: Mapping[str, Tensor], ranks: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors with every pair of thin factors as the one matrix that it stands for, without values."""
    found = dict(tensors)
    for layer in ranks:
        left, right = (found.pop(f"{layer}.{part}", None) for part in FACTORS)
        if left is None or right is None:
            raise UserError(f"the factors of {layer} are not in the files")
        found[f"{layer}.weight"] = torch.empty((left.shape[0], right.shape[1]), dtype=left.dtype, device="meta")
    return found
