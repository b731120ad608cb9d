"""Writes a checkpoint in parts that are each whole or absent, then joins the parts into shards.

A part is one safetensors file that appears by renaming. `config.json` and the manifest are written after the last
shard, so that a half-written directory can't be loaded by mistake.
"""

from __future__ import annotations

import errno
import json
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from llmc.errors import UserError
from llmc.files import replace_text, whole_file, whole_path
from llmc.models.checkpoint import INDEX, SINGLE

WORK = ".llmc"
WORKING = (
    f"{WORK}/journal*", f"{WORK}/hidden-*.safetensors", f"{WORK}/output-*.safetensors",
    f"{WORK}/parts/*-*.safetensors", f"{WORK}/parts/plan.json",
)  # fmt: skip
"""What a job under way writes, as patterns; whatever else lies in the folder is not its own."""
SHARDS = (SINGLE, "model-*.safetensors", INDEX)


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turns a full disk or a directory without write permission into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"no space left on the device of {directory}",
                hint="free some space and run the same command with --resume; what is finished is kept",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{directory} can't be written to", hint="choose another --out") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST):
            raise UserError(
                f"{directory} can't be written to ({error.strerror})", hint="choose another --out"
            ) from error
        raise
    except Exception as error:  # safetensors wraps the same causes in its own kind
        if "No space left" in str(error):
            raise UserError(
                f"no space left on the device of {directory}",
                hint="free some space and run the same command with --resume; what is finished is kept",
            ) from error
        raise


def write_json(path: Path, value: object) -> None:
    """Writes `value` as JSON; numbers that are not finite are our own mistake."""
    replace_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes one safetensors file, whole or not at all, and through to the disk."""
    held = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with whole_path(path) as temporary:
        save_file(held, temporary, metadata={"format": "pt"})


class ShardWriter:
    """The weight files of one output directory.

    `put` writes a part; `join` turns all parts into `model.safetensors` or numbered shards of at most
    `max_shard_bytes`, copying bytes and never holding a tensor. Both can be repeated after a kill.
    """

    def __init__(self, directory: Path, max_shard_bytes: int) -> None:
        self.directory, self.parts, self._max = directory, directory / WORK / "parts", max_shard_bytes
        with disk_errors(directory):
            self.parts.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Writes the part called `name`; parts are joined in the order of their names."""
        with disk_errors(self.directory):
            save_tensors(self.parts / f"{name}.safetensors", tensors)

    def join(self) -> dict[str, Any]:
        """Joins the parts into shards and returns the index: `{"metadata": …, "weight_map": …}`."""
        with disk_errors(self.directory):
            plan_path = self.parts / "plan.json"
            if not plan_path.exists():
                write_json(plan_path, self._plan())
            plan: dict[str, list[str]] = json.loads(plan_path.read_text())
            for shard, parts in plan.items():
                if not (self.directory / shard).exists():
                    _concatenate([self.parts / part for part in parts], self.directory / shard)
                for part in parts:  # only now: until the shard stands, the parts are the only copy
                    (self.parts / part).unlink(missing_ok=True)
            weight_map, total = {}, 0
            for shard in plan:
                header, _ = _header(self.directory / shard)
                for tensor, entry in header.items():
                    weight_map[tensor] = shard
                    total += entry["data_offsets"][1] - entry["data_offsets"][0]
            index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
            if len(plan) > 1:
                write_json(self.directory / INDEX, index)
            return index

    def _plan(self) -> dict[str, list[str]]:
        groups: list[list[str]] = []
        size = self._max + 1
        for part in sorted(self.parts.glob("*.safetensors")):
            n_bytes = part.stat().st_size
            if size + n_bytes > self._max:
                groups.append([])
                size = 0
            groups[-1].append(part.name)
            size += n_bytes
        if len(groups) == 1:
            return {SINGLE: groups[0]}
        return {f"model-{i:05d}-of-{len(groups):05d}.safetensors": group for i, group in enumerate(groups, 1)}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file without its metadata, and where its data begin."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _concatenate(parts: list[Path], shard: Path) -> None:
    """One safetensors file with the tensors of all `parts`, by copying their data as bytes."""
    merged: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset, pieces = 0, []
    for part in parts:
        header, start = _header(part)
        size = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        for name, entry in header.items():
            low, high = entry["data_offsets"]
            merged[name] = {**entry, "data_offsets": [low + offset, high + offset]}
        pieces.append((part, start))
        offset += size
    text = json.dumps(merged, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(shard) as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for part, start in pieces:
            with part.open("rb") as file:
                file.seek(start)
                shutil.copyfileobj(file, out, 1 << 22)
