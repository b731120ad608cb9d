"""A model without weights, filled and emptied part by part from a checkpoint's shards.

All parameters start on the meta device. Names are those of the live modules; the checkpoint's own names (older
prefixes, one tensor an expert) are translated by transformers' conversion tables in both directions.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, initialization
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    rename_source_key,
    revert_weight_conversion,
)

from llmc.errors import UserError
from llmc.kernels.onednn_linear import use_onednn_
from llmc.models.checkpoint import Checkpoint
from llmc.models.config import decoder_config, read_config
from llmc.models.experts import HALVES
from llmc.models.layout import find_blocks
from llmc.models.third_party import said
from llmc.models.tracing import mark_left_alone


class Skeleton:
    """A causal language model on the meta device, and the way from its parameters to the shards.

    `dtype` is what filled floating-point parameters are held in; `checkpoint` has the tensors, where they aren't those
    of `directory`. Raises `UserError` for a model that transformers
    doesn't know as a decoder, is already quantised, or whose checkpoint lacks a parameter.
    """

    def __init__(self, directory: str | Path, dtype: torch.dtype, checkpoint: Checkpoint | None = None) -> None:
        self.checkpoint = Checkpoint(directory) if checkpoint is None else checkpoint
        self.config = decoder_config(directory)
        self.raw_config = read_config(directory)
        try:
            with init_empty_weights(include_buffers=False):  # buffers that no checkpoint holds are computed as usual
                self.model: PreTrainedModel = AutoModelForCausalLM.from_config(self.config, dtype=dtype)
        except Exception as error:  # whatever a model's own code makes of the values in config.json
            raise UserError(
                f"{type(self.config).__name__} makes no model without its weights ({said(error)})",
                hint="check config.json; else this architecture can't be compressed block by block",
            ) from error
        self.model.eval()
        self.linears = tuple(n for n, m in self.model.named_modules() if isinstance(m, nn.Linear))
        """The model's linear layers by name, as loaders find them: before anything is taken apart."""
        mark_left_alone(self.model, self.config, find_blocks(self.model)[0])
        use_onednn_(self.model)
        self._sources: dict[str, list[str]] = {}
        """Checkpoint names by the parameter (or the first of several) that they fill."""
        self._patterns: dict[str, tuple[str, WeightConverter] | None] = {}
        self._map_names()

    def _map_names(self) -> None:
        transforms = get_model_conversion_mapping(self.model)
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if isinstance(t, WeightConverter)]
        by_pattern = {pattern: c for c in converters for pattern in c.source_patterns}
        meta = self.model.state_dict()
        prefix = self.model.base_model_prefix
        for source in sorted(self.checkpoint.tensors, key=_natural):
            target, pattern = rename_source_key(source, renamings, converters, prefix, meta)
            if target not in meta and source in meta:
                target, pattern = rename_source_key(source, [], [], prefix, meta)
            self._sources.setdefault(target, []).append(source)
            self._patterns[source] = (pattern, by_pattern[pattern]) if pattern is not None else None
        self.model._weight_conversions = [t for t in transforms if t.was_used()]
        tied = set(getattr(self.model, "all_tied_weights_keys", {}) or {})
        filled = {name for target in self._sources for name in self._targets_of(target)}
        if missing := sorted(set(meta) - filled - tied):
            raise UserError(
                f"{self.checkpoint.directory} lacks {len(missing)} parameters of a {type(self.model).__name__}, "
                f"the first is {missing[0]}",
                hint="check that config.json belongs to these weights",
            )

    def _targets_of(self, target: str) -> Iterable[str]:
        """Every parameter that the sources collected under `target` fill."""
        found = self._patterns[self._sources[target][0]]
        if found is None:
            return [target]
        _, converter = found
        patterns = list(converter.target_patterns)
        first = next((p for p in patterns if p in target), None)
        return [target] if first is None else [target.replace(first, p) for p in patterns]

    def sources_under(self, prefix: str) -> list[str]:
        """The checkpoint's names of everything below the module `prefix`."""
        return [s for target, names in self._sources.items() if target.startswith(prefix) for s in names]

    def source_name(self, target: str) -> str | None:
        """The checkpoint's one name for the parameter `target`; None where its stored form is another."""
        names = self._sources.get(target, [])
        return names[0] if len(names) == 1 and self._patterns[names[0]] is None else None

    def expert_name(self, experts: str, index: int, projection: str) -> str | None:
        """The checkpoint's name of one expert's `gate_proj`, `up_proj` or `down_proj` in the fused module `experts`.

        None where the checkpoint stores the experts fused too, so that a single one has no name.
        """
        names = self._sources.get(f"{experts}.{projection}", [])
        if projection in HALVES and not names:
            names = self._sources.get(f"{experts}.gate_up_proj", [])
        found = self._patterns[names[0]] if names else None
        if found is None:
            return None
        patterns = found[1].source_patterns
        pattern = patterns[1 if projection == "up_proj" and len(patterns) > 1 else 0]
        one_by_one = [n for n in names if (match := self._patterns[n]) is not None and match[0] == pattern]
        return one_by_one[index].removesuffix(".weight")

    @torch.no_grad()
    def fill(self, prefix: str, *, leave: Iterable[str] = ()) -> None:
        """Loads every parameter and buffer below the modules whose name starts with `prefix`, but none in `leave`."""
        left = tuple(leave)
        for target, names in self._sources.items():
            if not target.startswith(prefix) or (left and target.startswith(left)):
                continue
            for name, tensor in self._converted(target, self.checkpoint.read(names)).items():
                self._place(name, tensor)
        if not left:
            self._fill_buffers(self.model.get_submodule(prefix.rstrip(".")) if prefix else self.model)

    def fill_buffers_outside(self, prefix: str) -> None:
        """Computes the buffers (rotary frequencies, masks) of every module that is not below `prefix`."""
        self._fill_buffers(self.model, skip=prefix)

    def _converted(self, target: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        first = self._patterns[next(iter(tensors))]
        if first is None:
            return {target: next(iter(tensors.values()))}
        converter = copy.deepcopy(first[1])
        for source, tensor in tensors.items():
            found = self._patterns[source]
            assert found is not None
            converter.add_tensor(target, source, found[0], tensor)
        made = converter.convert(target, model=self.model, config=self.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}

    def _place(self, name: str, tensor: Tensor) -> None:
        parent, _, leaf = name.rpartition(".")
        try:
            module = self.model.get_submodule(parent)
        except AttributeError:
            return  # a tensor that this version of the model has no place for; it is copied as it stands
        if leaf in module._parameters and (old := module._parameters[leaf]) is not None:
            if old.shape != tensor.shape:
                raise UserError(
                    f"{name} has shape {tuple(tensor.shape)} where config.json asks for {tuple(old.shape)}",
                    hint="check that config.json belongs to these weights",
                )
            value = nn.Parameter(tensor.to(old.dtype if tensor.is_floating_point() else tensor.dtype), False)
            value._is_hf_initialized = True  # type: ignore[attr-defined]
            module._parameters[leaf] = value
        elif leaf in module._buffers and (buffer := module._buffers[leaf]) is not None:
            module._buffers[leaf] = tensor.to(buffer.dtype)

    def _fill_buffers(self, root: nn.Module, skip: str | None = None) -> None:
        for name, module in root.named_modules():
            if skip is not None and name.startswith(skip):
                continue
            empty = [key for key, buffer in module._buffers.items() if buffer is not None and buffer.is_meta]
            for key in empty:
                module._buffers[key] = torch.empty_like(module._buffers[key], device="cpu")
            if empty:
                with initialization.guard_torch_init_functions():
                    self._owner_of(module)._init_weights(module)

    def _owner_of(self, module: nn.Module) -> PreTrainedModel:
        """The innermost model that `module` is a part of: it knows how its buffers are made."""
        models = [m for m in self.model.modules() if isinstance(m, PreTrainedModel)]
        return next(m for m in reversed(models) if any(part is module for part in m.modules()))

    def towers(self, prefix: str) -> list[str]:
        """Names of whole models beside the decoder that holds the blocks `prefix` (vision, audio): never run here."""
        inner = [
            name
            for name, module in self.model.named_modules()
            if name and isinstance(module, PreTrainedModel) and not prefix.startswith(name + ".")
        ]
        return [f"{name}." for name in inner]

    def empty_embeddings(self) -> None:
        """Drops the embedding tables, which are needed no more once all tokens are embedded."""
        for module in self.model.modules():
            if isinstance(module, nn.Embedding):
                module.weight = nn.Parameter(module.weight.detach().to("meta"), False)

    def stored(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`tensors` (by live name) under the checkpoint's own names and in its own arrangement."""
        plain = {name: self.source_name(name) for name in tensors}
        found = {source: tensors[name] for name, source in plain.items() if source is not None}
        rest = {name: tensors[name] for name, source in plain.items() if source is None}
        if rest:
            found.update(revert_weight_conversion(self.model, rest))
        return found


def _natural(name: str) -> list[Any]:
    """A sort key that puts layer 2 before layer 10."""
    return [int(piece) if piece.isdigit() else piece for piece in re.split(r"(\d+)", name)]
