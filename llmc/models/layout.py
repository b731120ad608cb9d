"""Where the blocks and the matrices of a decoder are, found by looking and not by a list of names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from llmc.errors import UserError
from llmc.kernels.onednn_linear import is_plain_linear
from llmc.models.experts import SplitExperts
from llmc.models.tracing import LEFT


@dataclass(frozen=True)
class Matrix:
    """One weight matrix of a block: `name` within the block, its module, and how it is stored."""

    name: str
    module: nn.Module
    expert: bool
    """One of many experts: it sees only the tokens that the router sends it."""

    @property
    def transposed(self) -> bool:
        """Stored (in, out), as `Conv1D` does."""
        return isinstance(self.module, Conv1D)

    @property
    def kind(self) -> Literal["linear", "conv1d", "expert", "custom"]:
        """What holds the weight; only in the place of a plain `nn.Linear` can a loader put packed codes."""
        if self.expert:
            return "expert"
        return "conv1d" if self.transposed else "linear" if is_plain_linear(self.module) else "custom"

    @property
    def weight(self) -> Tensor:
        """The weight as (out, in)."""
        weight = cast(Tensor, self.module.weight).detach()
        return weight.t() if self.transposed else weight

    def set_weight(self, weight: Tensor) -> None:
        """Puts `weight` (out, in) in place, in the parameter's own dtype."""
        stored = weight.t() if self.transposed else weight
        cast(Tensor, self.module.weight).data.copy_(stored)


def find_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The name and the list of a decoder's blocks: the one ModuleList as long as the configuration says."""
    config = model.config.get_text_config(decoder=True)
    named = (getattr(config, n, None) for n in ("decoder_layers", "num_decoder_layers", "num_hidden_layers"))
    depths = {depth for depth in named if isinstance(depth, int)}
    towers = [n + "." for n, m in model.named_modules() if n and isinstance(m, PreTrainedModel) and _is_tower(n, m)]
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) in depths
        and any(True for _ in module.parameters())
        and not name.startswith(tuple(towers))
    ]
    outer = [(n, m) for n, m in found if not any(n.startswith(other + ".") for other, _ in found)]
    if len(outer) != 1:
        lists = ", ".join(f"{n} ({len(m)})" for n, m in outer) or "none"
        raise UserError(
            f"{type(model).__name__} has no single list of {'/'.join(map(str, sorted(depths)))} blocks; "
            f"lists of that length: {lists}",
            hint="llmc handles decoders that are one list of blocks",
        )
    return outer[0]


def _is_tower(name: str, module: PreTrainedModel) -> bool:
    """Whether a model inside another reads something else than text."""
    return any(word in f"{name} {type(module).__name__}".lower() for word in ("vision", "audio", "visual", "image"))


def matrices(block: nn.Module) -> Iterator[Matrix]:
    """The weight matrices of one block that compression is for: linear layers, but those that are to be left alone."""
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and not hasattr(module, LEFT) and not _is_router(name, block):
            yield Matrix(name, module, expert=_inside_experts(name, block))


def check_understood(block: nn.Module, where: str) -> None:
    """Raises `UserError` for a block most of whose weights are in no matrix that llmc knows.

    Convolutions, state parameters, embeddings and routers are left as they are, which is always right; a block that
    would be left nearly whole is refused, since what one asked for would not happen.
    """
    found = list(matrices(block))
    known = {id(parameter) for m in found for parameter in m.module.parameters()}
    n_known = sum(m.weight.numel() for m in found)
    others: list[tuple[int, str, nn.Module, str]] = []
    for name, module in block.named_modules():
        if hasattr(module, LEFT) or _is_router(name, block) or isinstance(module, nn.Embedding):
            continue
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.dim() >= 2 and id(parameter) not in known:
                others.append((parameter.numel(), name, module, leaf))
    if sum(n for n, *_ in others) > n_known:
        _, name, module, leaf = max(others, key=lambda each: each[0])
        shape = tuple(module._parameters[leaf].shape)  # type: ignore[union-attr]
        raise UserError(
            f"{where}.{name} is a {type(module).__name__} with a {shape} tensor '{leaf}', "
            "which llmc doesn't know how to compress, and most of the block's weights are in such tensors",
            hint="decoders made of linear layers and experts of the usual forms are handled",
        )


def _inside_experts(name: str, block: nn.Module) -> bool:
    pieces = name.split(".")
    return any(isinstance(block.get_submodule(".".join(pieces[:cut])), SplitExperts) for cut in range(1, len(pieces)))


def _is_router(name: str, block: nn.Module) -> bool:
    """A router or a gate over experts, or a part of one: its few weights decide where tokens go and are left alone."""
    pieces = name.split(".")
    for cut in range(1, len(pieces) + 1):
        kind = type(block.get_submodule(".".join(pieces[:cut]))).__name__
        if "Router" in kind or kind.endswith(("Gate", "TopKGating")):
            return True
    parent = block.get_submodule(name.rpartition(".")[0])
    beside_experts = any(isinstance(child, SplitExperts) or "experts" in key for key, child in parent.named_children())
    return beside_experts and pieces[-1] in {"gate", "router", "shared_expert_gate"}


def output_dtype(name: str) -> torch.dtype | None:
    """The torch dtype called `name`; None for "auto", which keeps the checkpoint's own."""
    table = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        return None
    if name not in table:
        raise UserError(f"unknown dtype {name!r}", hint=f"choose from: auto, {', '.join(table)}")
    return table[name]
