"""Writes a checkpoint in parts that are each whole or absent, then joins the parts into shards.

A part is one safetensors file that appears by renaming. `config.json` and the manifest are written after the last
shard, so that a half-written directory can't be loaded by mistake.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from llmc.checksums import FileFacts, facts_of
from llmc.errors import UserError
from llmc.files import replace_text, whole_file, whole_path
from llmc.harmless import json_text
from llmc.models.checkpoint import INDEX, SINGLE

WORK = ".llmc"
PARTS = "parts"
WORKING = (
    f"{WORK}/journal*", f"{WORK}/hidden-*.safetensors", f"{WORK}/output-*.safetensors",
    f"{WORK}/{PARTS}/*-*.safetensors",
)  # fmt: skip
"""What a job under way writes, as patterns; whatever else lies in the folder is not its own."""
SHARDS = (SINGLE, "model-*.safetensors", INDEX)
SHARD = re.compile(r"model(-\d{5,}-of-\d{5,})?\.safetensors(\.index\.json)?")
"""The names of `SHARDS`, no others."""


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
        if (number := re.search(r"os error (\d+)", str(error))) is None:
            raise
        with disk_errors(directory):
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(directory)) from error


def write_json(path: Path, value: object) -> None:
    """Writes `value` as JSON; numbers that are not finite are our own mistake."""
    replace_text(path, json_text(value, indent=2) + "\n")


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileFacts:
    """Writes one safetensors file, whole or not at all, and through to the disk; gives back what was written."""
    held = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    with whole_path(path) as temporary:
        save_file(held, temporary, metadata={"format": "pt"})
        return facts_of(temporary)


def remove_shards(directory: Path) -> None:
    """Removes the weight files that an earlier `join` has written, whole or not."""
    for path in directory.iterdir():
        if SHARD.fullmatch(path.name):
            path.unlink()


def write_index(directory: Path, shards: Sequence[str]) -> dict[str, Any]:
    """The index of the shards in `directory`, which is also written where there are several."""
    weight_map, total = {}, 0
    for shard in shards:
        header, _ = _header(directory / shard)
        for tensor, entry in header.items():
            weight_map[tensor] = shard
            total += entry["data_offsets"][1] - entry["data_offsets"][0]
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    if len(shards) > 1:
        write_json(directory / INDEX, index)
    return index


class Joining(Protocol):
    """Who keeps what is joined already."""

    parts: dict[str, FileFacts]
    """The parts by their names in the working folder."""
    plan: dict[str, list[str]] | None
    shards: dict[str, FileFacts]

    def planned(self, plan: dict[str, list[str]]) -> None: ...
    def shard_done(self, name: str, facts: FileFacts) -> None: ...


class ShardWriter:
    """The weight files of one output directory.

    `put` writes a part; `join` turns all parts into `model.safetensors` or numbered shards of at most
    `max_shard_bytes`, copying bytes and never holding a tensor. Both can be repeated after a kill.
    """

    def __init__(self, directory: Path, max_shard_bytes: int) -> None:
        self.directory, self.parts, self._max = directory, directory / WORK / PARTS, max_shard_bytes
        self._written: dict[str, FileFacts] = {}
        with disk_errors(directory):
            self.parts.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Writes the part called `name`; parts are joined in the order of their names."""
        with disk_errors(self.directory):
            facts = save_tensors(self.parts / f"{name}.safetensors", tensors)
        self._written[f"{PARTS}/{name}.safetensors"] = facts

    def taken(self) -> dict[str, FileFacts]:
        """The parts that were written since this was last asked, by their names in the working folder."""
        written, self._written = self._written, {}
        return written

    def join(self, kept: Joining) -> dict[str, Any]:
        """Joins the parts into shards and returns the index: `{"metadata": …, "weight_map": …}`.

        Raises `UserError` for a part that is not what was written; nothing of it is joined.
        """
        work = self.directory / WORK
        with disk_errors(self.directory):
            if kept.plan is None:
                kept.planned(self._plan(kept.parts))
            plan = kept.plan or {}
            for shard, parts in plan.items():
                if shard not in kept.shards:
                    facts = _concatenate({work / part: kept.parts[part] for part in parts}, self.directory / shard)
                    kept.shard_done(shard, facts)
                for part in parts:  # only now: until the shard stands, the parts are the only copy
                    (work / part).unlink(missing_ok=True)
            return write_index(self.directory, list(plan))

    def _plan(self, parts: Mapping[str, FileFacts]) -> dict[str, list[str]]:
        groups: list[list[str]] = []
        size = self._max + 1
        for name, facts in sorted(parts.items()):
            if size + facts.bytes > self._max:
                groups.append([])
                size = 0
            groups[-1].append(name)
            size += facts.bytes
        if len(groups) == 1:
            return {SINGLE: groups[0]}
        return {f"model-{i:05d}-of-{len(groups):05d}.safetensors": group for i, group in enumerate(groups, 1)}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file without its metadata, and where its data begin."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > path.stat().st_size:
            raise ValueError("the header is longer than the file")
        header: dict[str, Any] = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length


def _concatenate(parts: Mapping[Path, FileFacts], shard: Path) -> FileFacts:
    """One safetensors file with the tensors of all `parts`, by copying their data as bytes; what it holds.

    Each part is read once: its header and data must have the checksum that it was written with.
    """
    merged: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for part, facts in parts.items():
        if not part.is_file() or part.stat().st_size != facts.bytes:
            raise _changed(part)
        try:
            header, start = _header(part)
        except (ValueError, struct.error) as error:
            raise _changed(part) from error
        for name, entry in header.items():
            low, high = entry["data_offsets"]
            merged[name] = {**entry, "data_offsets": [low + offset, high + offset]}
        offset += facts.bytes - start
    text = json.dumps(merged, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    begin = struct.pack("<Q", len(text)) + text
    whole = hashlib.sha256(begin)
    with whole_file(shard) as out:
        out.write(begin)
        for part, facts in parts.items():
            digest = hashlib.sha256()
            with part.open("rb") as file:
                (length,) = struct.unpack("<Q", head := file.read(8))
                digest.update(head + file.read(length))
                while piece := file.read(1 << 22):
                    digest.update(piece)
                    whole.update(piece)
                    out.write(piece)
            if digest.hexdigest() != facts.sha256:
                raise _changed(part)
    return FileFacts(len(begin) + offset, whole.hexdigest())


def _changed(part: Path) -> UserError:
    return UserError(
        f"{part} has changed since it was written, so it is not joined",
        hint="run the same command with --resume: what is damaged is made again",
    )
