"""What a result must say about where it comes from: model, tokenizer, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmc.checksums import FileFacts, not_as_written, seal_holds
from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.models.identity import small_files
from llmc.models.memory import n_parameters
from llmc.ops.product import by_onednn
from llmc.reading.json_text import json_object
from llmc.version import __version__

PACKAGES = ("torch", "transformers", "lm_eval", "compressed-tensors", "tokenizers", "datasets", "numpy", "rouge-score")


def model_facts(
    directory: Path, model: Any | None, label: str | None, *, known_as: str | None = None
) -> dict[str, Any]:
    """The manifest's keys about a checkpoint: name, hashes, size, and how it was compressed, if it was.

    `model` is None where a backend holds it; `known_as` stands for the folder where that is a passing one. Raises
    `UserError` for a compressed checkpoint that is not as it was written.
    """
    checkpoint, compression = Checkpoint(directory), compression_of(directory)
    check_as_compressed(directory, compression, checkpoint.shard_sha256)
    return {
        "model": {
            "id": known_as or str(directory),
            "sha256": checkpoint.sha256,
            "bytes_on_disk": checkpoint.n_bytes,
            "n_parameters": None if model is None else n_parameters(model),
            "dtype": None if model is None else str(model.dtype).removeprefix("torch."),
            "label": label or directory.resolve().name,
        },
        "model_files": small_files(directory),
        "compression": compression,
    }


def compression_of(directory: Path) -> dict[str, Any] | None:
    """What `llmc compress` wrote about the checkpoint, word for word; None for others."""
    path = directory / "llmc_manifest.json"
    if not path.is_file():
        return None
    found = json_object(path, hint="compress the model again")
    if seal_holds(found) is False:
        raise UserError(f"{path} has changed since it was written", hint="compress the model again")
    return found


def check_as_compressed(directory: Path, account: Mapping[str, Any] | None, shards: Mapping[str, str]) -> None:
    """Raises `UserError` for a compressed checkpoint whose files are not those that its manifest lists.

    `shards` are the sha256 of the weight files, which are not read again.
    """
    listed = (account or {}).get("files") or {}
    facts = {name: FileFacts(int(each["bytes"]), str(each["sha256"])) for name, each in listed.items()}
    wrong = not_as_written(directory, {name: each for name, each in facts.items() if name not in shards})
    wrong |= {name: "has changed since it was written" for name, each in facts.items()
              if name in shards and shards[name] != each.sha256}  # fmt: skip
    for name in sorted(wrong):
        raise UserError(
            f"{directory} is not what llmc compress wrote: {name} {wrong[name]}",
            hint="compress again, or take llmc_manifest.json away if you changed the model on purpose",
        )


def tokenizer_sha256(tokenizer: Any) -> str:
    """A hash of everything that decides how the tokenizer cuts text."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def packages(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of what computes a result; packages that aren't installed are left out."""
    found = {"llmc": __version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> dict[str, Any]:
    """The machine as far as numbers may depend on it."""
    import torch

    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "float32_products": "oneDNN" if by_onednn() else "torch",
        "device": device,
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else None,
    }
