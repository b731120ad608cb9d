"""Tiles that were timed on a device: the file that `bench/gpu.py` writes, read and checked, by device and shape."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from llmc.errors import UserError
from llmc.kernels.tiles import COLUMNS, ROWS, SPLITS, STAGES, Tiles

VARIABLE = "LLMC_GPU_TILES"
"""The environment variable that names a file of timed tiles."""
PACKAGED = Path(__file__).with_name("gpu_tiles.json")
"""Read where the variable is not set and the package has it; none was measured yet."""
FORMAT = "llmc-gpu-tiles-1"
_ALLOWED = {"rows": ROWS, "columns": COLUMNS, "split": SPLITS, "stages": STAGES}
_TEXTS, _SIZES = ("device", "triton"), ("n_out", "n_in", "bits")


@dataclass(frozen=True, kw_only=True)
class Place:
    """What timed tiles are for. Times of another triton, or of a device of another name, say nothing here."""

    device: str
    triton: str
    n_out: int
    n_in: int
    bits: int
    columns: int
    """Rows of x in a tile, which follows from the number of rows."""


def tuned(device: torch.device, n_out: int, n_in: int, bits: int, columns: int) -> Tiles | None:
    """The tiles timed for such a product on this device, or None. `UserError` for a file that can't be read."""
    path = os.environ.get(VARIABLE) or (str(PACKAGED) if PACKAGED.exists() else None)
    if path is None:
        return None
    name, triton = device_name(device), triton_version()
    return read(path).get(Place(device=name, triton=triton, n_out=n_out, n_in=n_in, bits=bits, columns=columns))


@functools.cache
def device_name(device: torch.device) -> str:
    """What the driver calls the device; a CPU is "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@functools.cache
def triton_version() -> str:
    """The installed triton, "none" without one; importing it would take a while."""
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def write(path: str | Path, found: Mapping[Place, Tiles]) -> None:
    """The tiles as a file that `read` reads."""
    entries = [{**asdict(place), **asdict(tiles)} for place, tiles in found.items()]
    Path(path).write_text(json.dumps({"format": FORMAT, "tiles": entries}, indent=1) + "\n", encoding="utf-8")


@functools.cache
def read(path: str) -> Mapping[Place, Tiles]:
    """The tiles of a file, read once. `UserError` names the file and the first thing wrong with it."""
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(path, f"can't be read: {error}") from error
    if not isinstance(said, dict) or said.get("format") != FORMAT or not isinstance(said.get("tiles"), list):
        raise _refused(path, f'is no file of the format "{FORMAT}"')
    return dict(_entry(path, number, entry) for number, entry in enumerate(said["tiles"], 1))


def _entry(path: str, number: int, entry: Any) -> tuple[Place, Tiles]:
    if not isinstance(entry, dict):
        raise _refused(path, f"has {entry!r} as entry {number}")
    for key in _TEXTS:
        if not isinstance(entry.get(key), str):
            raise _refused(path, f"has no {key} in entry {number}")
    for key in _SIZES:
        if not _whole(entry.get(key)) or entry[key] < 1:
            raise _refused(path, f"has {key} {entry.get(key)!r} in entry {number}, which must be a number above 0")
    for key, allowed in _ALLOWED.items():
        if not _whole(entry.get(key)) or entry[key] not in allowed:
            raise _refused(path, f"has {key} {entry.get(key)!r} in entry {number}, which must be {_either(allowed)}")
    place = Place(**{key: entry[key] for key in (*_TEXTS, *_SIZES, "columns")})
    return place, Tiles(**{key: entry[key] for key in _ALLOWED})


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _either(allowed: Iterable[int]) -> str:
    *first, last = map(str, sorted(allowed))
    return f"{', '.join(first)} or {last}"


def _refused(path: str, problem: str) -> UserError:
    return UserError(
        f"the file of GPU tiles {path} {problem}",
        hint=f"python -m bench.gpu writes one; unset {VARIABLE} for the defaults",
    )
