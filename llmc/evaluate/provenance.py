"""What a result must say about where it comes from: model, tokenizer, packages, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmc._version import __version__
from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.models.memory import n_parameters
from llmc.ops.product import by_onednn
from llmc.reading.json_text import json_object

PACKAGES = ("torch", "transformers", "lm_eval", "compressed-tensors", "tokenizers", "datasets", "numpy", "rouge-score")


def model_facts(directory: Path, model: Any | None, label: str | None) -> dict[str, Any]:
    """Name, hash and size of a checkpoint, as the manifest has them. `model` is None where a backend holds it."""
    checkpoint = Checkpoint(directory)
    return {
        "id": str(directory),
        "sha256": checkpoint.sha256,
        "bytes_on_disk": checkpoint.n_bytes,
        "n_parameters": None if model is None else n_parameters(model),
        "dtype": None if model is None else str(model.dtype).removeprefix("torch."),
        "label": label or directory.resolve().name,
    }


def compression_of(directory: Path) -> dict[str, Any] | None:
    """What `llmc compress` wrote about the checkpoint, word for word; None for others."""
    path = directory / "llmc_manifest.json"
    if not path.is_file():
        return None
    try:
        return json_object(path)
    except UserError as error:
        raise UserError(f"{path} is damaged: {error.problem}", hint="compress the model again") from error


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
        "float32_products": "oneDNN" if by_onednn() else "torch",
        "device": device,
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else None,
    }
