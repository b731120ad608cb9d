"""Fused experts (3-D tensors) taken apart into plain linear layers, and put together again.

Only the common form is understood: gate and up concatenated along the output, no biases, not transposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from llmc.errors import UserError


class SplitExperts(nn.Module):
    """The same function as a fused experts module, with a `gate_proj`, `up_proj` and `down_proj` for each expert."""

    def __init__(self, fused: nn.Module) -> None:
        super().__init__()
        tensors = fused._parameters
        gate_up, down = cast(Tensor, tensors["gate_up_proj"]).detach(), cast(Tensor, tensors["down_proj"]).detach()
        self.apply_gate: Callable[[Tensor], Tensor] = cast(Any, fused)._apply_gate
        for index in range(len(gate_up)):
            gate, up = gate_up[index].chunk(2, dim=0)
            expert = nn.Module()
            expert.gate_proj, expert.up_proj, expert.down_proj = _linear(gate), _linear(up), _linear(down[index])
            self.add_module(str(index), expert)
        for leaf in ("gate_up_proj", "down_proj"):  # `apply_gate` keeps `fused` alive; its tensors need not be
            tensors[leaf] = nn.Parameter(cast(Tensor, tensors[leaf]).detach().to("meta"), requires_grad=False)

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """Shapes: hidden_states (tokens, width); top_k_index, top_k_weights (tokens, k)."""
        out = torch.zeros_like(hidden_states)
        for index, expert in enumerate(self._experts()):
            token, place = torch.where(top_k_index == index)
            if len(token) == 0:
                continue
            x = hidden_states[token]
            hidden = self.apply_gate(torch.cat([expert.gate_proj(x), expert.up_proj(x)], dim=-1))
            out.index_add_(0, token, (expert.down_proj(hidden) * top_k_weights[token, place, None]).to(out.dtype))
        return out

    def _experts(self) -> list[Any]:
        return list(self.children())

    def joined(self) -> dict[str, Tensor]:
        """The fused tensors of the experts as they now stand."""
        experts = self._experts()
        gate_up = torch.stack([torch.cat([e.gate_proj.weight, e.up_proj.weight]) for e in experts])
        return {"gate_up_proj": gate_up, "down_proj": torch.stack([e.down_proj.weight for e in experts])}


def _linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    return layer


def is_fused_experts(module: nn.Module) -> bool:
    """True for a module that holds its experts in 3-D parameters."""
    return any(parameter.dim() == 3 for parameter in module._parameters.values() if parameter is not None)


def split_experts(block: nn.Module, where: str) -> None:
    """Replaces every fused experts module below `block` by a `SplitExperts` that computes the same.

    Raises `UserError` for an arrangement of experts that isn't understood.
    """
    for name, module in list(block.named_modules()):
        if not is_fused_experts(module):
            continue
        plain = (
            getattr(module, "has_gate", False)
            and getattr(module, "is_concatenated", False)
            and not getattr(module, "has_bias", True)
            and not getattr(module, "is_transposed", True)
            and not getattr(module, "has_post_expert_norm", True)
        )
        if not plain or set(module._parameters) != {"gate_up_proj", "down_proj"}:
            raise UserError(
                f"{where}.{name} is a {type(module).__name__} whose experts are stored in a form llmc doesn't know",
                hint="gate and up concatenated, without biases, is what is understood",
            )
        parent, _, leaf = name.rpartition(".")
        setattr(block.get_submodule(parent), leaf, SplitExperts(module))
