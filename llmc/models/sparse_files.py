"""Which matrices of a checkpoint look pruned: a few rows of each are read, whatever the checkpoint's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import safe_open
from torch import Tensor

from llmc.models.checkpoint import Checkpoint
from llmc.ops.bitmask import words

DTYPES = ("BF16", "F16", "F32")
N_ROWS = 4
"""Rows of a matrix that are looked at, evenly spread, none at an edge: an embedding's last rows may be padding."""


def sampled_density(checkpoint: Checkpoint) -> dict[str, float]:
    """The share of weights that aren't zero in a few rows of every matrix "<layer>.weight", by layer."""
    by_shard: dict[Path, list[str]] = {}
    for name, info in checkpoint.tensors.items():
        if name.endswith(".weight") and info.dtype in DTYPES and len(info.shape) == 2 and info.n_bytes:
            by_shard.setdefault(info.shard, []).append(name)
    found = {}
    for shard, names in by_shard.items():
        with safe_open(shard, framework="pt") as file:
            for name in names:
                rows = checkpoint.tensors[name].shape[0]
                places = sorted({(2 * i + 1) * rows // (2 * N_ROWS) for i in range(N_ROWS)})
                stored = file.get_slice(name)
                found[name.removesuffix(".weight")] = float(np.mean([_density(stored[i : i + 1]) for i in places]))
    return found


def _density(rows: Tensor) -> float:
    return float(np.count_nonzero(words(rows).numpy())) / rows.numel()
