"""What a run is: everything that changes an answer, so that only the same run can go on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmc.checksums import file_sha256

CHOSEN = (
    "model", "model_files", "suites", "lm_eval_tasks", "task_folders", "judges", "dense_run", "mode", "scale", "seed",
    "limit", "backend", "backend_args", "dtype", "kernels", "batch_tokens", "template", "chat", "tokenizer_sha256",
    "decoding", "tasks",
)  # fmt: skip
"""Keys of the manifest that say what was asked of which model, what a user has chosen first."""
NOT_COMPUTING = ("python", "datasets", "rouge-score")
"""Packages whose versions change no answer."""
MACHINE = {"n_threads": "number of threads", "instructions": "instructions", "float32_products": "float32 products",
           "device": "device", "device_name": "device name"}  # fmt: skip
CODE = ("ops", "kernels", "models", "data", "evaluate", "kick_bench", "trust")
"""The subpackages that decide an answer or its mark."""


def identity_of(manifest: Mapping[str, Any], *, finished: bool = False) -> dict[str, Any]:
    """What must be equal for a run to go on, by the names that a person is told.

    Of a `finished` run nothing is computed any more, so that what it was computed with may be another one.
    """
    chosen = {name: manifest.get(name) for name in CHOSEN}
    if finished:
        return chosen
    packages, machine = manifest.get("packages") or {}, manifest.get("machine") or {}
    return {
        **chosen,
        "versions": {f"{name} version": v for name, v in packages.items() if name not in NOT_COMPUTING},
        "code of llmc": manifest.get("code_sha256"),
        "arithmetic": {name: machine.get(key) for key, name in MACHINE.items()},
    }


def seal_of(manifest: Mapping[str, Any]) -> str:
    """What the lines of this run's journal have in common, and no other run's."""
    return hashlib.sha256(json.dumps(identity_of(manifest), sort_keys=True).encode()).hexdigest()


def answers_sha256(run: Path) -> str:
    """A hash of everything that a run's samples hold."""
    total = hashlib.sha256()
    for file in sorted((run / "samples").rglob("*.jsonl")):
        total.update(f"{file.relative_to(run).as_posix()} {file_sha256(file)}\n".encode())
    return total.hexdigest()


def task_files(folders: tuple[Path, ...]) -> dict[str, str]:
    """sha256 of the files that describe lm-eval's tasks in `folders`, by their paths."""
    files = [file for folder in folders for kind in ("*.yaml", "*.yml", "*.py") for file in sorted(folder.rglob(kind))]
    return {str(file): file_sha256(file) for file in files if file.is_file()}
