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
    depth = model.config.get_text_config().num_hidden_layers
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and sum(1 for _ in module.parameters())
    ]
    outer = [(n, m) for n, m in found if not any(n.startswith(other + ".") for other, _ in found)]
    if len(outer) != 1:
        lists = ", ".join(f"{n} ({len(m)})" for n, m in outer) or "none"
        raise UserError(
            f"{type(model).__name__} has no single list of {depth} blocks; lists of that length: {lists}",
            hint="llmc handles decoders that are one list of like blocks",
        )
    return outer[0]


def matrices(block: nn.Module) -> Iterator[Matrix]:
    """The weight matrices of one block that compression is for: all linear layers but the routers of experts."""
    for name, module in block.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and not _is_router(name, module, block):
            yield Matrix(name, module, expert=_inside_experts(name, block))


def check_understood(block: nn.Module, where: str) -> None:
    """Raises `UserError` for a block with weights that are neither a known matrix, a vector, nor a router's."""
    known = {id(parameter) for m in matrices(block) for parameter in m.module.parameters()}
    for name, module in block.named_modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            if parameter.dim() < 2 or id(parameter) in known or _is_router(name, module, block):
                continue
            raise UserError(
                f"{where}.{name} is a {type(module).__name__} with a {tuple(parameter.shape)} tensor '{leaf}', "
                "which llmc doesn't know how to compress",
                hint="decoders made of linear layers and plain experts are handled",
            )


def _inside_experts(name: str, block: nn.Module) -> bool:
    pieces = name.split(".")
    return any(isinstance(block.get_submodule(".".join(pieces[:cut])), SplitExperts) for cut in range(1, len(pieces)))


def _is_router(name: str, module: nn.Module, block: nn.Module) -> bool:
    """A router or a gate over experts: its few weights decide where tokens go and are left alone."""
    if "Router" in type(module).__name__ or type(module).__name__.endswith("Gate"):
        return True
    parent = block.get_submodule(name.rpartition(".")[0])
    beside_experts = any(isinstance(child, SplitExperts) or "experts" in key for key, child in parent.named_children())
    return beside_experts and name.rpartition(".")[2] in {"gate", "router", "shared_expert_gate"}


def output_dtype(name: str) -> torch.dtype | None:
    """The torch dtype called `name`; None for "auto", which keeps the checkpoint's own."""
    table = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name == "auto":
        return None
    if name not in table:
        raise UserError(f"unknown dtype {name!r}", hint=f"choose from: auto, {', '.join(table)}")
    return table[name]
