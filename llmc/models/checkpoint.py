"""A checkpoint on disk: which shard holds which tensor, whether the shards are whole, and their bytes.

Knows nothing about architectures. Reads safetensors only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from llmc.checksums import file_sha256
from llmc.errors import UserError
from llmc.reading.safetensors_header import TensorInfo, safetensors_header
from llmc.reading.shard_index import shard_index

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


class Checkpoint:
    """The safetensors files of one model directory.

    Raises `UserError` when the directory holds no safetensors weights, or a shard is missing, truncated or damaged;
    the check reads headers only.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise UserError(f"{self.directory} is not a directory", hint="give the folder of a checkpoint")
        self.shards = tuple(self._find_shards())
        self.tensors: dict[str, TensorInfo] = {}
        for shard in self.shards:
            found = safetensors_header(shard)
            if twice := sorted(found.keys() & self.tensors.keys()):
                raise UserError(
                    f"{self.directory} holds {twice[0]} twice: in {self.tensors[twice[0]].shard.name} and {shard.name}",
                    hint="download the checkpoint again",
                )
            self.tensors.update(found)
        if (index := self.directory / INDEX).exists():
            listed = shard_index(index)
            if missing := sorted(name for name in listed if name not in self.tensors):
                raise UserError(
                    f"{self.directory}: {len(missing)} tensors of the index are in no shard, the first is {missing[0]}",
                    hint="download the checkpoint again",
                )
            elsewhere = sorted(n for n, info in self.tensors.items() if listed.get(n) != info.shard.name)
            if elsewhere:
                raise UserError(
                    f"{self.directory}: the index tells another place than the shards for {len(elsewhere)} tensors, "
                    f"the first is {elsewhere[0]} in {self.tensors[elsewhere[0]].shard.name}",
                    hint="download the checkpoint again",
                )

    def _find_shards(self) -> Iterable[Path]:
        index = self.directory / INDEX
        if index.exists():
            names = sorted(set(shard_index(index).values()))
            missing = [name for name in names if not (self.directory / name).is_file()]
            if missing:
                raise UserError(
                    f"{self.directory}: {len(missing)} of {len(names)} shards are missing: {', '.join(missing[:3])}",
                    hint="download the checkpoint again",
                )
            return [self.directory / name for name in names]
        if (self.directory / SINGLE).is_file():
            return [self.directory / SINGLE]
        others = sorted(p.name for p in self.directory.glob("*.bin")) + sorted(
            p.name for p in self.directory.glob("*.pt*")
        )
        if others:
            raise UserError(
                f"{self.directory} holds pickled weights ({others[0]}), which can run code when they are opened",
                hint="convert them to safetensors first",
            )
        raise UserError(f"{self.directory} holds no {SINGLE}", hint="give the folder of a safetensors checkpoint")

    @property
    def n_bytes(self) -> int:
        """Bytes of all weight files on disk."""
        return sum(shard.stat().st_size for shard in self.shards)

    @cached_property
    def sha256(self) -> str:
        """One hash over the weight files' hashes, in the order of their names."""
        total = hashlib.sha256()
        for shard in sorted(self.shards):
            total.update(bytes.fromhex(self.shard_sha256[shard.name]))
        return total.hexdigest()

    @cached_property
    def shard_sha256(self) -> dict[str, str]:
        """The hash of each weight file by its name."""
        return {shard.name: file_sha256(shard) for shard in self.shards}

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The tensors called `names`, copied out of their shards in their stored dtype."""
        by_shard: dict[Path, list[str]] = {}
        for name in names:
            by_shard.setdefault(self.tensors[name].shard, []).append(name)
        found: dict[str, Tensor] = {}
        for shard, wanted in by_shard.items():
            # Opened for this read only: an open map would keep every page that was touched resident.
            try:
                with safe_open(shard, framework="pt") as file:
                    for name in wanted:
                        found[name] = file.get_tensor(name).clone()
            except (SafetensorError, OSError) as error:
                raise UserError(f"{shard} can't be read: {error}", hint="download this shard again") from error
        return found


def torch_dtype(name: str) -> torch.dtype | None:
    """The torch dtype of a safetensors dtype name, None for one that torch has no plain type for."""
    table = {
        "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
        "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
        "BOOL": torch.bool,
    }  # fmt: skip
    return table.get(name)
