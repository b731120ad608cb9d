"""Fused experts (3-D tensors) taken apart into plain linear layers, and put together again.

Understood are the forms that transformers has: gate and up in halves or interleaved, (out, in) or (in, out), with and
without biases, without a gate; called with the routed tokens, with all tokens an expert, or with tokens sorted by
expert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

HALVES = ("gate_proj", "up_proj")


@dataclass(frozen=True)
class Form:
    """How a fused module holds its experts."""

    call: str
    """"routed": (tokens, indices, weights); "stacked": as many tokens for each expert; "sorted": (tokens, sizes)."""
    tensors: dict[str, tuple[str, ...]]
    """The linear layers of an expert in each fused tensor, side by side along its output."""
    transposed: bool = False
    interleaved: bool = False
    biases: bool = False


def form_of(module: nn.Module) -> Form | None:
    """How `module` holds its experts; None for one that holds none, or in a way that isn't known."""
    names = {n for n, p in module._parameters.items() if p is not None}
    own: Any = module
    if names == {"weight"} and own.weight.dim() == 3 and hasattr(module, "num_experts"):
        return Form("sorted", {"weight": ("proj",)})
    if {"gate_up_proj", "down_proj"} == names and not hasattr(module, "has_gate"):
        if (
            own.gate_up_proj.shape[1] == own.down_proj.shape[2]
            and own.gate_up_proj.shape[2] == 2 * own.down_proj.shape[1]
        ):
            return Form("stacked", {"gate_up_proj": HALVES, "down_proj": ("down_proj",)}, transposed=True)
        return None
    if not hasattr(module, "has_gate") or own.has_post_expert_norm:
        return None
    up = "gate_up_proj" if own.has_gate else "up_proj"
    wanted = {up, "down_proj"} | ({f"{up}_bias", "down_proj_bias"} if own.has_bias else set())
    if names != wanted:
        return None
    return Form(
        "routed",
        {up: HALVES if own.has_gate else ("up_proj",), "down_proj": ("down_proj",)},
        transposed=own.is_transposed,
        interleaved=not own.is_concatenated,
        biases=own.has_bias,
    )


class SplitExperts(nn.Module):
    """The same function as a fused experts module, with plain linear layers for each expert."""

    def __init__(self, fused: nn.Module, form: Form) -> None:
        super().__init__()
        self.form = form
        own: Any = fused
        # A plain list, so that an activation that is a module doesn't become a child beside the experts.
        self._functions: list[Callable[[Tensor], Tensor] | None] = [
            getattr(own, "_apply_gate", None) if getattr(own, "has_gate", False) else None,
            getattr(own, "act_fn", None),
        ]
        first = cast(Tensor, fused._parameters[next(iter(form.tensors))])
        for index in range(len(first)):
            expert = nn.Module()
            for name, parts in form.tensors.items():
                weight = cast(Tensor, fused._parameters[name]).detach()[index]
                bias = cast(Tensor, fused._parameters[f"{name}_bias"]).detach()[index] if form.biases else None
                weights = self._parted(weight.t() if form.transposed else weight, len(parts))
                biases = self._parted(bias, len(parts)) if bias is not None else [None] * len(parts)
                for part, w, b in zip(parts, weights, biases, strict=True):
                    setattr(expert, part, _linear(w, b))
            self.add_module(str(index), expert)
        for leaf, tensor in list(
            fused._parameters.items()
        ):  # `apply_gate` keeps `fused` alive; its tensors need not be
            if tensor is not None:
                fused._parameters[leaf] = nn.Parameter(tensor.detach().to("meta"), requires_grad=False)

    def _parted(self, tensor: Tensor, n: int) -> list[Tensor]:
        if n == 1:
            return [tensor]
        return [tensor[k::n] for k in range(n)] if self.form.interleaved else list(tensor.chunk(n, dim=0))

    def _united(self, parts: list[Tensor], dim: int) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        return torch.stack(parts, dim + 1).flatten(dim, dim + 1) if self.form.interleaved else torch.cat(parts, dim)

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As the fused module was called. Shapes: hidden_states (tokens, width)."""
        if self.form.call == "sorted":
            parts = torch.split(hidden_states, args[0] if args else kwargs["expert_size"])
            return torch.cat([e.proj(x) for e, x in zip(self._experts(), parts, strict=True)])
        if self.form.call == "stacked":
            parts = hidden_states.view(len(self._experts()), -1, hidden_states.shape[-1]).unbind()
            return torch.cat([self._one(e, x) for e, x in zip(self._experts(), parts, strict=True)])
        top_k_index, top_k_weights = (*args, *kwargs.values())
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self._experts()):
            token, place = torch.where(top_k_index == index)
            if len(token):
                made = self._one(expert, flat[token]) * top_k_weights[token, place, None]
                out.index_add_(0, token, made.to(out.dtype))
        return out.view(hidden_states.shape)

    def _one(self, expert: Any, x: Tensor) -> Tensor:
        """What one expert makes of tokens (tokens, width)."""
        apply_gate, act_fn = self._functions
        if not hasattr(expert, "gate_proj"):
            assert act_fn is not None
            inner = act_fn(expert.up_proj(x))
        elif apply_gate is not None:
            inner = apply_gate(self._united([expert.gate_proj(x), expert.up_proj(x)], x.dim() - 1))
        else:
            assert act_fn is not None
            inner = act_fn(expert.gate_proj(x)) * expert.up_proj(x)
        out: Tensor = expert.down_proj(inner)
        return out

    def _experts(self) -> list[Any]:
        return list(self.children())

    @property
    def layer(self) -> str:
        """The name of one linear layer of one expert."""
        return f"0.{next(iter(self.form.tensors.values()))[0]}"

    def joined(self) -> dict[str, Tensor]:
        """The fused tensors of the experts as they now stand."""
        made: dict[str, Tensor] = {}
        for name, parts in self.form.tensors.items():
            weights = [self._united([getattr(e, p).weight for p in parts], 0) for e in self._experts()]
            made[name] = torch.stack([w.t() if self.form.transposed else w for w in weights])
            if self.form.biases:
                biases = [self._united([getattr(e, p).bias for p in parts], 0) for e in self._experts()]
                made[f"{name}_bias"] = torch.stack(biases)
        return made


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.clone(memory_format=torch.contiguous_format), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer


def split_experts(block: nn.Module, where: str) -> None:
    """Replaces every fused experts module below `block` by a `SplitExperts` that computes the same.

    Experts in a form that isn't known stay as they are; `layout.check_understood` says so.
    """
    for name, module in list(block.named_modules()):
        form = None if isinstance(module, nn.Linear) else form_of(module)
        if form is not None:
            parent, _, leaf = name.rpartition(".")
            setattr(block.get_submodule(parent), leaf, SplitExperts(module, form))
