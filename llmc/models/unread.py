"""The tensors of a checkpoint that its model has no place for: what is harmless, what is left, what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmc.errors import UserError

_MTP_NAME = re.compile(r"(^|[._])(mtp|nextn)([._]|$)")
MOST_PROMISED = 100
"""More layers for multi-token prediction no model has."""
_MTP_KEY = re.compile(r"mtp|nextn")
_BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def is_extra_prediction(name: str, config: Mapping[str, Any]) -> bool:
    """True for a tensor of a multi-token-prediction layer: named so, or a block above those of the model.

    A block above the last counts only where config.json promises such layers; else it belongs to another model.
    """
    if _MTP_NAME.search(name):
        return True
    text = {**config, **(config.get("text_config") or {})}
    promised = promised_layers(config)
    depth, found = text.get("num_hidden_layers"), _BLOCK.search(name)
    return bool(promised and isinstance(depth, int) and found and depth <= int(found[1]) < depth + promised)


def promised_layers(config: Mapping[str, Any]) -> int:
    """How many multi-token-prediction layers config.json promises."""
    text = {**config, **(config.get("text_config") or {})}
    return sum(v for k, v in text.items() if _MTP_KEY.search(k) and type(v) is int and 0 < v <= MOST_PROMISED)


def extra_predictions(names: Iterable[str], config: Mapping[str, Any]) -> list[str]:
    """The tensors of multi-token-prediction layers, which no causal language model of transformers computes with."""
    return [name for name in names if is_extra_prediction(name, config)]


def refuse_unread(directory: str | Path, model: str, unread: Sequence[str], config: Mapping[str, Any]) -> None:
    """Raises `UserError` where tensors stay unread that are no multi-token-prediction layer's.

    `unread` is what transformers neither reads nor declares harmless for this `model`.
    """
    strange = sorted(name for name in unread if not is_extra_prediction(name, config))
    if strange:
        raise UserError(
            f"{directory} holds {len(strange)} tensors that a {model} has no place for, the first is {strange[0]}",
            hint="its config.json asks for another model than these weights are of",
        )
