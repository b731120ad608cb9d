"""The header of a safetensors file, checked whole before anything is read by it: names, dtypes, shapes, places."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmc.errors import UserError, quoted
from llmc.reading.bounded import MB, open_plain
from llmc.reading.json_text import Malformed, json_value, kind_of

LONGEST = 100 * MB
"""Bytes of a header at most, as safetensors itself has it."""
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of an element of each dtype."""


@dataclass(frozen=True)
class TensorInfo:
    """Where one tensor stands and what it is, from the shard's header."""

    shard: Path
    dtype: str
    shape: tuple[int, ...]
    n_bytes: int


def safetensors_header(shard: Path, *, hint: str = "download this shard again") -> dict[str, TensorInfo]:
    """Every tensor of one file by name. Raises `UserError` unless header and file are whole and agree.

    The tensors fill the file from the header's end to its own, each once, as safetensors asks.
    """
    entries, start, size = header_entries(shard, hint=hint)
    found, at = {}, 0
    try:
        placed = sorted((_entry(name, entry) for name, entry in entries.items()), key=lambda each: each[2:])
        for name, info, low, high in placed:
            if low != at:
                raise Malformed(f"tensor {quoted(name)} begins at byte {low:,}, and what is before it ends at {at:,}")
            found[name] = TensorInfo(shard, *info, high - low)
            at = high
    except Malformed as error:
        raise UserError(f"{shard} is no sound safetensors file: {error}", hint=hint) from None
    if start + at != size:
        raise UserError(
            f"{shard} is truncated or too long: {size:,} bytes where its header asks for {start + at:,}", hint=hint
        )
    return {name: found[name] for name in entries}


def header_entries(shard: Path, *, hint: str) -> tuple[dict[str, Any], int, int]:
    """The header without its metadata, the byte that it ends before, and the size of the file."""
    with open_plain(shard, hint=hint) as file:
        size = shard.stat().st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8 or length > LONGEST:
            raise UserError(f"{shard} is not a whole safetensors file", hint=hint)
        text = file.read(length)
    try:
        header = json_value(text.decode("utf-8"))
    except (UnicodeDecodeError, Malformed) as error:
        why = error if isinstance(error, Malformed) else "it is not UTF-8"
        raise UserError(f"{shard} is not a whole safetensors file: its header is not JSON ({why})", hint=hint) from None
    if not isinstance(header, dict):
        raise UserError(f"{shard} is no sound safetensors file: its header is {kind_of(header)}", hint=hint)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UserError(f"{shard} is no sound safetensors file: its metadata are no texts by name", hint=hint)
    return header, 8 + length, size


def _entry(name: str, entry: Any) -> tuple[str, tuple[str, tuple[int, ...]], int, int]:
    """The name of a tensor, its dtype and shape, and its first byte and the one after its last."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"tensor {quoted(name)} has not just a dtype, a shape and offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise Malformed(f"tensor {quoted(name)} has the unknown dtype {quoted(dtype)}")
    if not _sizes(shape) or math.prod(shape) >= 2**63:
        raise Malformed(f"tensor {quoted(name)} has the shape {quoted(shape)}")
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise Malformed(f"tensor {quoted(name)} has the offsets {quoted(offsets)}")
    n_bits = math.prod(shape) * BITS[dtype]
    if n_bits != 8 * (offsets[1] - offsets[0]):
        raise Malformed(
            f"tensor {quoted(name)} has {offsets[1] - offsets[0]:,} bytes, and {dtype} {quoted(shape)} asks for "
            f"{n_bits / 8:,.10g}"
        )
    return name, (dtype, tuple(shape)), offsets[0], offsets[1]


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= 64 and all(type(size) is int and size >= 0 for size in value)
