"""`model.safetensors.index.json`: which file of the folder holds which tensor."""

from __future__ import annotations

from pathlib import Path

from llmc.errors import UserError, quoted
from llmc.reading.bounded import MB
from llmc.reading.json_text import json_object, kind_of

LONGEST = 100 * MB
AGAIN = "download the checkpoint again"


def shard_index(path: Path) -> dict[str, str]:
    """The file name of every tensor's shard. Raises `UserError` for another form, or a file outside the folder."""
    index = json_object(path, at_most=LONGEST, hint=AGAIN, lenient=True)
    listed = index.get("weight_map")
    if not isinstance(listed, dict):
        raise UserError(f"{path} has {kind_of(listed)} where the weight_map belongs", hint=AGAIN)
    if not listed:
        raise UserError(f"{path} names no tensor", hint=AGAIN)
    for tensor, shard in listed.items():
        if not isinstance(shard, str):
            raise UserError(f"{path}: the file of tensor {quoted(tensor)} is {kind_of(shard)}", hint=AGAIN)
        if shard != Path(shard).name or not shard.endswith(".safetensors"):
            raise UserError(
                f"{path}: tensor {quoted(tensor)} is in {quoted(shard)}, which is no safetensors file of this folder",
                hint=AGAIN,
            )
    return listed
