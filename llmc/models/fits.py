"""Whether config.json can be of the weights beside it, asked before anything of its sizes is built."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.models.unread import promised_layers

_PLACE = re.compile(r"^(.*?)\.(\d+)\.")
_DEPTHS = ("decoder_layers", "num_decoder_layers", "num_hidden_layers")
WORDS = 16
"""Weights that an element of a packed tensor may stand for: 32 bits hold 16 codes of 2."""
BUFFERS = 10**9
"""Bytes of tables (rotary angles, masks) that a model may compute for itself, beside as many as its weights have."""


def check_fits(checkpoint: Checkpoint, config: PretrainedConfig, raw: dict[str, Any]) -> None:
    """Raises `UserError` where `config` asks for far more blocks or weights than there are.

    `raw` is config.json as it stands. Without this a mistyped number would be built first: for hours, or for gigabytes.
    Smaller differences are found, and named better, by whoever fills the model: see `check_depth` too.
    """
    depths, found = _depths(config), _lists(checkpoint)
    if depths and min(depths) > 2 * max(found.values(), default=0) + 16:
        raise _other_depth(checkpoint, depths, found)
    made = _on_meta(config)
    if made is None:
        return
    there = sum(math.prod(info.shape) for info in checkpoint.tensors.values())
    packed = WORDS if raw.get("quantization_config") else 1
    asked = sum(parameter.numel() for parameter in made.parameters())
    if asked > 2 * packed * there + 10**6:
        raise UserError(
            f"{checkpoint.directory}: config.json asks for {asked:,} weights and its files hold {there:,}",
            hint="check that config.json belongs to these weights",
        )
    tables = sum(buffer.nbytes for buffer in made.buffers())
    if tables > BUFFERS + checkpoint.n_bytes:
        raise UserError(
            f"{checkpoint.directory}: config.json asks for {tables / 1e9:,.0f} GB of tables beside the weights",
            hint="check its sizes, such as the number of positions",
        )


def check_depth(checkpoint: Checkpoint, config: PretrainedConfig, raw: dict[str, Any]) -> None:
    """Raises `UserError` where `config` asks for another number of blocks than the files hold."""
    depths, found = _depths(config), _lists(checkpoint)
    promised = promised_layers(raw)
    if found and depths and not {d + more for d in depths for more in range(promised + 1)} & set(found.values()):
        raise _other_depth(checkpoint, depths, found)


def _depths(config: PretrainedConfig) -> set[int]:
    text = config.get_text_config(decoder=True)
    return {depth for name in _DEPTHS if isinstance(depth := getattr(text, name, None), int)}


def _lists(checkpoint: Checkpoint) -> dict[str, int]:
    """How long each list of modules is that the tensors' names begin with."""
    found: dict[str, int] = {}
    for tensor in checkpoint.tensors:
        if match := _PLACE.match(tensor):
            found[match[1]] = max(found.get(match[1], 0), int(match[2]) + 1)
    return found


def _other_depth(checkpoint: Checkpoint, depths: set[int], found: dict[str, int]) -> UserError:
    lists = ", ".join(f"{name} has {n}" for name, n in sorted(found.items())[:3]) or "none"
    return UserError(
        f"{checkpoint.directory}: config.json asks for {'/'.join(map(str, sorted(depths)))} blocks and the files "
        f"hold others: {lists}",
        hint="check num_hidden_layers in config.json, and that all shards are there",
    )


def _on_meta(config: PretrainedConfig) -> Any | None:
    """The model without any values, not even of its tables; None where its code needs some."""
    with contextlib.suppress(Exception), torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)
    return None
