"""Embeddings and heads that stay packed: where they stand in a model, taken out of it empty, and put in again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from llmc.errors import UserError
from llmc.kernels.packed_table import PackedEmbedding, PackedHead, looks_up_alone, without_values
from llmc.ops.codes import Codes


@dataclass(frozen=True)
class Table:
    """One table of codes: the embedding that looks its rows up, if any, and the heads that multiply with it."""

    embedding: str | None
    heads: tuple[str, ...]

    @property
    def places(self) -> tuple[str, ...]:
        """The names of all modules that the table is in."""
        return self.heads if self.embedding is None else (self.embedding, *self.heads)


def located(model: PreTrainedModel, layers: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Where in the model each layer of the files stands, and why some stand nowhere, as clauses."""
    transforms = get_model_conversion_mapping(model)
    renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
    converters = [t for t in transforms if isinstance(t, WeightConverter)]
    meta = model.state_dict()
    found: dict[str, str] = {}
    refused = []
    for layer in layers:
        source = f"{layer}.weight"
        target, pattern = rename_source_key(source, renamings, converters, model.base_model_prefix, meta)
        if pattern is not None:
            refused.append(f"{layer} is one of several that the model joins into one tensor")
            continue
        if target not in meta and source in meta:
            target = source
        if target in meta:
            found[layer] = target.removesuffix(".weight")
        else:
            refused.append(f"{layer} is no plain linear layer of a {type(model).__name__}")
    return found, refused


def tables(model: PreTrainedModel, layers: Sequence[str]) -> dict[str, Table]:
    """Those of the files' layers that are the model's token embedding or head, or tied to them."""
    found: dict[str, Table] = {}
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings()
    for layer, place in located(model, layers)[0].items():
        places = tied_places(model, place)
        modules = {name: model.get_submodule(name) for name in places}
        if not any(module is embedding or module is head for module in modules.values()):
            continue
        looked_up = [name for name, module in modules.items() if isinstance(module, nn.Embedding)]
        heads = tuple(name for name, module in modules.items() if isinstance(module, nn.Linear))
        if len(looked_up) <= 1 and len(looked_up) + len(heads) == len(places):
            found[layer] = Table(looked_up[0] if looked_up else None, heads)
    return found


def tied_places(model: PreTrainedModel, place: str) -> list[str]:
    """The modules that share the weight of `place`, itself the first."""
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    same = {place: None}
    for _ in tied:  # until nothing more joins
        for one, other in tied.items():
            pair = [name.removesuffix(".weight") for name in (one, other)]
            if any(name in same for name in pair):
                same |= dict.fromkeys(pair)
    return list(same)


def forget_ties_(model: PreTrainedModel, table: Table) -> None:
    """Lets the loader look for no weight of this table any more."""
    tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    names = {f"{place}.weight" for place in table.places}
    model.all_tied_weights_keys = {one: other for one, other in tied.items() if not {one, other} & names}


def empty_(embedding: nn.Embedding) -> None:
    """Takes the weight out: one without values stands in for it, which the loader neither fills nor misses."""
    weight = embedding._parameters.pop("weight")
    assert weight is not None
    stand_in = weight.detach().to("meta")
    stand_in._is_hf_initialized = True  # type: ignore[attr-defined]
    embedding.weight = stand_in


def packed_embedding(table: PackedHead, like: nn.Embedding, place: str) -> PackedEmbedding:
    """The packed embedding for an `empty_` one; a `UserError` for a class that does more than look rows up."""
    if not looks_up_alone(like):
        raise UserError(
            f"{place} is a {type(like).__name__}, which does more than look rows up: it can't stay packed",
            hint="load it with kernels=dense",
        )
    return PackedEmbedding(table, like, like.weight.dtype)


def dense_embedding_(like: nn.Embedding, weight: nn.Parameter) -> None:
    """Puts a weight back into an `empty_` embedding."""
    del like.__dict__["weight"]
    like.weight = weight


def packed_head(table: PackedHead, bias: nn.Parameter | None, *, tied: bool) -> PackedHead:
    """A head over the same codes, with a bias of its own if there is one; a `tied` one counts with its embedding."""
    if bias is None:
        return table
    head = copy.copy(table)
    head._parameters = {}
    head.bias, head.is_copy = bias, tied
    return head


def packed_table(codes: Codes, dtype: torch.dtype) -> PackedHead:
    """The table that embedding and heads share."""
    table = PackedHead(codes)
    table.weight = without_values(table, dtype)
    return table
