"""The view of a real block that a balancing method works on; see `block.BlockView` for what each part promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llmc.compress.method import LayerStats
from llmc.compress.walk.block import Pair
from llmc.models import pairs as found_pairs
from llmc.models.layout import Matrix

QUERIES_AND_KEYS = ("q_proj", "k_proj", "query", "key", "qkv", "c_attn")
"""Parts of the names of matrices that make queries or keys."""

Rounder = Callable[[str, Tensor], Tensor]
"""Rounds a tensor of the block, given by its name, as writing it to the checkpoint will."""


@dataclass(kw_only=True)
class _Call:
    args: list[Any]
    kwargs: dict[str, Any]
    scaled_by: str | None
    """The norm whose output is this call's input; its rescaling changes what the parent reads."""


class LiveBlock:
    """A filled block, the statistics of its matrices, and one batch to try things on.

    `dense` holds the weights that errors are measured against; a rescale changes them as it changes the block.
    `run` calls the block on the trial batch.
    """

    def __init__(
        self,
        block: nn.Module,
        matrices: Sequence[Matrix],
        dense: dict[str, Tensor],
        stats: Mapping[str, LayerStats],
        run: Callable[[], Tensor],
        *,
        head_dim: int,
        rounded: Rounder,
    ) -> None:
        self._block, self._found, self._run = block, list(matrices), run
        self._by_name = {m.name: m for m in matrices}
        self._dense, self._stats, self._rounded = dense, dict(stats), rounded
        wired = found_pairs.candidates(block, self._found, run, head_dim)
        self._movable = found_pairs.movable(block, self._found, wired, run)
        self.pairs: Sequence[Pair] = tuple(self._described(pair) for pair in self._movable)
        self._calls = self._captured()

    @property
    def clippable(self) -> Sequence[str]:
        """Every matrix but those that make queries or keys."""
        return [n for n in self._by_name if not any(part in n.rpartition(".")[2] for part in QUERIES_AND_KEYS)]

    def _described(self, pair: found_pairs.Pair) -> Pair:
        parent = None
        if len(pair.consumers) > 1:
            pieces = [name.split(".")[:-1] for name in pair.consumers]
            shared = [p[0] for p in zip(*pieces, strict=False) if len(set(p)) == 1]
            parent = ".".join(shared)
        source = None
        if pair.repeat > 1:
            rows = self._by_name[pair.producer].weight.shape[0]
            source = found_pairs.expand(torch.arange(rows, device=self._by_name[pair.producer].weight.device), pair)
        return Pair(producer=pair.producer, consumers=pair.consumers, parent=parent, source=source)

    def _captured(self) -> dict[str, _Call]:
        """The arguments of every parent in one run of the block."""
        wanted = {p.parent: p for p in self.pairs if p.parent is not None}
        calls: dict[str, _Call] = {}
        handles = []
        for name, pair in wanted.items():
            inside = not name or pair.producer.startswith(name + ".")

            def keep(
                _: nn.Module,
                args: Any,
                kwargs: Any,
                name: str = name,
                norm: str | None = None if inside else pair.producer,
            ) -> None:
                calls[name] = _Call(args=list(args), kwargs=dict(kwargs), scaled_by=norm)

            module = self._block.get_submodule(name)
            handles.append(module.register_forward_pre_hook(keep, with_kwargs=True))
        try:
            self._run()
        finally:
            for handle in handles:
                handle.remove()
        return calls

    def weight(self, name: str) -> Tensor:
        """The present weight (out, in) in the dtype it will be written in."""
        return self._by_name[name].weight.to(self._dense[name].dtype).contiguous()

    def set_weight(self, name: str, weight: Tensor) -> None:
        """Replaces a weight, rounded to the dtype it will be written in."""
        self._by_name[name].set_weight(weight.to(self._dense[name].dtype))

    def stats(self, name: str) -> LayerStats:
        """The statistics of a matrix's inputs, as every rescale so far has made them."""
        return self._stats[name]

    @torch.no_grad()
    def parent_output(self, parent: str) -> Tensor:
        """The output of a module of the block on the trial batch, with the present weights."""
        call = self._calls[parent]
        out = self._block.get_submodule(parent)(*call.args, **call.kwargs)
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result

    @torch.no_grad()
    def rescale(self, pair: Pair, scale: Tensor) -> None:
        """Moves `scale` (the producer's channels,) from the producer into its consumers, for good."""
        moved = next(p for p in self._movable if p.producer == pair.producer and p.consumers == pair.consumers)
        scale = scale.to(torch.float32)
        wide = found_pairs.expand(scale, moved)
        found_pairs.scale_(self._block, self._found, moved, scale)
        for name in (pair.producer, *pair.consumers):
            for leaf, parameter in self._block.get_submodule(name).named_parameters(recurse=False):
                parameter.data.copy_(self._rounded(f"{name}.{leaf}", parameter.data))
        for name in pair.consumers:
            self._dense[name] = (self._dense[name].float() * wide).to(self._dense[name].dtype)
        if pair.producer in self._dense:
            held = self._dense[pair.producer]
            self._dense[pair.producer] = (held.float() / scale[:, None]).to(held.dtype)
        changed = {id(self._stats[name]): divided(self._stats[name], wide) for name in pair.consumers}
        self._stats = {name: changed.get(id(stats), stats) for name, stats in self._stats.items()}
        for call in self._calls.values():
            if call.scaled_by == pair.producer:
                if call.args and isinstance(call.args[0], Tensor):
                    call.args[0] = call.args[0] / wide
                else:
                    call.kwargs["hidden_states"] = call.kwargs["hidden_states"] / wide


def divided(stats: LayerStats, scale: Tensor) -> LayerStats:
    """The statistics of inputs that are divided channel by channel by `scale` (in,)."""
    return LayerStats(
        n_tokens=stats.n_tokens,
        sq_norm=None if stats.sq_norm is None else stats.sq_norm / scale.square(),
        abs_sum=None if stats.abs_sum is None else stats.abs_sum / scale,
        gram=None if stats.gram is None else stats.gram / scale / scale[:, None],
    )
