"""What decides a result besides the settings: the model's files, llmc's code, the packages, how the machine adds."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from llmc.checksums import file_sha256
from llmc.models.folder import companions
from llmc.ops.product import by_onednn
from llmc.version import __version__

COMPUTING = ("torch", "transformers", "safetensors", "compressed-tensors", "numpy", "tokenizers")
"""Packages that take part in every number."""
NAMING_THEMSELVES = ("files", "model_files", "versions", "arithmetic")
"""Parts of an identity whose entries say what they are."""


def small_files(directory: Path) -> dict[str, str]:
    """sha256 of what stands beside the weights, by name: config, tokenizer, generation settings, chat templates."""
    names = ["config.json", *(path.as_posix() for path in companions(directory))]
    return {name: file_sha256(directory / name) for name in names if (directory / name).is_file()}


@functools.cache
def code_sha256(parts: tuple[str, ...]) -> str:
    """A hash of llmc's own code in these subpackages, with the tables of measured settings beside it."""
    root = Path(__file__).parents[1]
    files = [path for part in parts for pattern in ("*.py", "*.json") for path in (root / part).rglob(pattern)]
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(f"{path.relative_to(root).as_posix()} {file_sha256(path)}\n".encode())
    return total.hexdigest()


def versions(names: Iterable[str] = COMPUTING) -> dict[str, str]:
    """The versions of llmc and of packages, such as "torch version"; those that aren't installed are left out."""
    found = {"llmc version": __version__}
    for name in names:
        try:
            found[f"{name} version"] = version(name)
        except PackageNotFoundError:
            continue
    return found


def arithmetic(device: str) -> dict[str, Any]:
    """What decides the order of sums on this machine, and with it the last digits of every product."""
    return {
        "number of threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "float32 products": "oneDNN" if by_onednn() else "torch",
        "device name": torch.cuda.get_device_name() if device.startswith("cuda") else None,
    }


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first thing that two identities don't share, such as "tokenizer.json" or "llmc version (0.1.0, not 0.2.0)".

    Mappings inside are looked into, so that what is named is the file or the package; None where nothing differs.
    """
    for key in [*now, *(key for key in before if key not in now)]:
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            inner = what_changed(old, new)
            return inner if key in NAMING_THEMSELVES else f"{key}: {inner}"
        if isinstance(old, str | None) and isinstance(new, str | None) and _is_hash(old or new or ""):
            return key if old and new else f"{key} ({'new' if new else 'gone'})"
        return f"{key} ({_short(old)}, not {_short(new)})"
    return None


def _is_hash(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def _short(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{value.get('id')}, sha256 {str(value['sha256'])[:12]}"
    text = str(value) if isinstance(value, str | int | float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
