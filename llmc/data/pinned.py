"""Datasets by name: where they come from, which files they are, and the hash that every file must have.

Files lie under a data root as their authors publish them. Nothing is fetched unless `fetch` is called.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.error import URLError

from llmc.errors import UserError, unknown
from llmc.files import whole_file

State = Literal["ok", "missing", "changed"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A pinned dataset."""

    name: str
    source: str
    licence: str
    rows: str
    download: str | None
    """What a file's name is put behind to make its address; None: there is no plain download."""
    files: Mapping[str, str]
    """The sha256 of every file by its path under the data root."""


@functools.cache
def datasets() -> Mapping[str, Dataset]:
    """Every pinned dataset by name."""
    content = json.loads(resources.files("llmc.data").joinpath("pins.json").read_text(encoding="utf-8"))
    return MappingProxyType({name: Dataset(name=name, **fields) for name, fields in sorted(content.items())})


def dataset(name: str) -> Dataset:
    """The dataset called `name`; a `UserError` with the nearest match when there is none."""
    if name not in datasets():
        raise unknown("dataset", name, datasets())
    return datasets()[name]


def read(data_root: Path | None, path: str) -> str:
    """The text of a pinned file under the data root, after its hash has been checked."""
    pinned = dataset(path.split("/")[0])
    way = f"get it with `llmc data pull {pinned.name} --data-root DIR`"
    if pinned.download is None:
        way = f"get it from {pinned.source} and lay it out as {path}"
    if data_root is None:
        raise UserError(f"{pinned.name} is read from --data-root, which isn't given", hint=way)
    if not (data_root / path).is_file():
        raise UserError(f"{data_root / path} is missing", hint=way)
    content = (data_root / path).read_bytes()
    if hashlib.sha256(content).hexdigest() != pinned.files[path]:
        raise UserError(
            f"{data_root / path} isn't the file that results are comparable on: its sha256 differs", hint=way
        )
    return content.decode("utf-8-sig")


def verify(pinned: Dataset, data_root: Path) -> dict[str, State]:
    """The state of every file of a dataset under the data root."""
    states: dict[str, State] = {}
    for path, sha256 in pinned.files.items():
        file = data_root / path
        if not file.is_file():
            states[path] = "missing"
        else:
            with file.open("rb") as stream:
                states[path] = "ok" if _sha256(iter(lambda: stream.read(1 << 20), b"")) == sha256 else "changed"
    return states


def _sha256(blocks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def fetch(pinned: Dataset, data_root: Path, *, opener: Callable[..., object] = urllib.request.urlopen) -> list[str]:
    """Download what is missing; a file counts only when its hash is right. Gives the files fetched."""
    if pinned.download is None:
        raise UserError(
            f"{pinned.name} has no plain download", hint=f"get it from {pinned.source} and lay it out under {data_root}"
        )
    states = verify(pinned, data_root)
    wanted = [path for path, state in states.items() if state != "ok"]
    for path in wanted:
        if os.path.lexists(data_root / path):
            raise UserError(
                f"{data_root / path} is there and isn't the pinned file", hint="move it away: it would be replaced"
            )
    for path in wanted:
        address = pinned.download + path.removeprefix(pinned.name + "/")
        try:
            with opener(address, timeout=60) as answer:  # type: ignore[attr-defined]
                content: bytes = answer.read()
        except (URLError, OSError) as error:
            raise UserError(
                f"{address} can't be fetched: {error}", hint="check the network, or copy the file"
            ) from error
        if hashlib.sha256(content).hexdigest() != pinned.files[path]:
            raise UserError(
                f"{address} isn't the pinned file any more: its sha256 differs",
                hint=f"find the version of {pinned.source} with sha256 {pinned.files[path]}",
            )
        target = data_root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as file:
            file.write(content)
    return wanted
