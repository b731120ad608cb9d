"""Pairs of layers in a block between which a scale per channel can move without changing what the block computes.

Candidates are found by looking: a norm and the linear layers that read its output, or two linear layers in a row.
Whether a scale really may move is then tried on real inputs, so that an activation, a norm or a router in between
rules a pair out by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from llmc.models.layout import Matrix

CHAINS = (
    ("v_proj", ("o_proj", "out_proj", "dense")),
    ("up_proj", ("down_proj",)),
    ("fc1", ("fc2",)),
    ("c_fc", ("c_proj",)),
    ("dense_h_to_4h", ("dense_4h_to_h",)),
)
"""Names of linear layers that may feed another one of the same parent."""

TOLERANCE = 0.03
"""Largest change of the block's output that a move of scales may leave by rounding, as a share of the change that the
consumers' half of the move makes alone. Rounding in bfloat16 leaves up to 0.01, an activation in between over 0.1."""


@dataclass(frozen=True)
class Pair:
    """A producer whose output channels feed the input channels of all `consumers`.

    `repeat` > 1 under grouped-query attention: each value head feeds that many query heads, so the scales of those
    heads' channels must be equal. `head_dim` is the run of channels that repeats.
    """

    producer: str
    consumers: tuple[str, ...]
    repeat: int = 1
    head_dim: int = 1


def expand(scale: Tensor, pair: Pair) -> Tensor:
    """The consumers' scale for each input channel from the producer's for each output channel."""
    if pair.repeat == 1:
        return scale
    heads = scale.view(-1, pair.head_dim)
    return heads.repeat_interleave(pair.repeat, dim=0).reshape(-1)


def candidates(block: nn.Module, found: Sequence[Matrix], run: Callable[[], Any], head_dim: int) -> list[Pair]:
    """Every pair that the block's wiring suggests, seen in one call of `run`, which runs the block."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    handles = [
        m.module.register_forward_pre_hook(lambda _, args, name=m.name: inputs.setdefault(name, args[0])) for m in found
    ]
    for name, module in block.named_modules():
        if _is_norm(module):
            handles.append(module.register_forward_hook(lambda _, args, out, name=name: outputs.setdefault(name, out)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    pairs = []
    for name, out in outputs.items():
        readers = tuple(n for n, x in inputs.items() if x.data_ptr() == out.data_ptr() and x.shape[-1] == out.shape[-1])
        if readers:
            pairs.append(Pair(name, readers))
    return pairs + list(_chained(block, found, head_dim))


def _chained(block: nn.Module, found: Sequence[Matrix], head_dim: int) -> Iterator[Pair]:
    by_name = {m.name: m for m in found}
    for first in found:
        parent, _, leaf = first.name.rpartition(".")
        for producer, followers in CHAINS:
            for follower in followers:
                second = by_name.get(f"{parent}.{follower}" if parent else follower)
                if leaf != producer or second is None:
                    continue
                rows, columns = first.weight.shape[0], second.weight.shape[1]
                width = _head_width(block.get_submodule(parent)) or head_dim
                if columns == rows:
                    yield Pair(first.name, (second.name,))
                elif columns % rows == 0 and rows % width == 0:
                    yield Pair(first.name, (second.name,), repeat=columns // rows, head_dim=width)


def _head_width(attention: nn.Module) -> int | None:
    """The width of a value head as the attention itself says, since it may differ from block to block."""
    widths = (getattr(attention, name, None) for name in ("v_head_dim", "head_dim"))
    return next((width for width in widths if isinstance(width, int)), None)


def _is_norm(module: nn.Module) -> bool:
    own = module._parameters.get("weight")
    return "norm" in type(module).__name__.lower() and own is not None and own.dim() == 1


@torch.no_grad()
def scale_consumers_(found: Sequence[Matrix], pair: Pair, scale: Tensor) -> None:
    """Multiplies the consumers' input channels by `scale` (producer's outputs,): half of a move."""
    wide = expand(scale, pair)
    for matrix in found:
        if matrix.name in pair.consumers:
            matrix.set_weight(matrix.weight * wide)


@torch.no_grad()
def scale_(block: nn.Module, found: Sequence[Matrix], pair: Pair, scale: Tensor) -> None:
    """Multiplies the consumers' input channels by `scale` (producer's outputs,) and divides the producer's by it."""
    scale_consumers_(found, pair, scale)
    by_name = {m.name: m for m in found}
    module = block.get_submodule(pair.producer)
    weight = cast(Tensor, module.weight).data
    if pair.producer in by_name:
        by_name[pair.producer].set_weight(by_name[pair.producer].weight / scale[:, None])
    elif _adds_one(module):
        weight.copy_((1 + weight) / scale - 1)
    else:
        weight.div_(scale)
    if isinstance(bias := getattr(module, "bias", None), Tensor):
        bias.data.div_(scale)


def _adds_one(norm: nn.Module) -> bool:
    """True for a norm that multiplies by 1 + weight (Gemma's): with a zero weight it still lets something through."""
    weight = cast(Tensor, norm.weight).data
    held = weight.clone()
    probe = torch.randn(4, len(weight), generator=torch.Generator().manual_seed(0))
    try:
        weight.zero_()
        bias = norm._parameters.get("bias")
        out = norm(probe.to(weight.device, weight.dtype))
        return bool((out if bias is None else out - bias).abs().max() > 0)
    finally:
        weight.copy_(held)


def _outputs(block: nn.Module, found: Sequence[Matrix], producer: str) -> int:
    """How many output channels the producer has; a norm has as many as weights."""
    for matrix in found:
        if matrix.name == producer:
            return matrix.weight.shape[0]
    return len(cast(Tensor, block.get_submodule(producer).weight))


@contextmanager
def _restored(block: nn.Module) -> Iterator[None]:
    held = {name: p.detach().clone() for name, p in block.named_parameters()}
    try:
        yield
    finally:
        for name, p in block.named_parameters():
            p.data.copy_(held[name])


@torch.no_grad()
def movable(block: nn.Module, found: Sequence[Matrix], pairs: Sequence[Pair], run: Callable[[], Tensor]) -> list[Pair]:
    """Those of `pairs` through which a random scale moves without changing the output of `run`.

    The scales are powers of two, which bfloat16 multiplies and divides by exactly. What is left is held against the
    effect of half the move, and not against the output, in which a loud residual stream would drown any effect.
    """
    before = run()
    generator = torch.Generator().manual_seed(0)
    kept = []
    for pair in pairs:
        size = _outputs(block, found, pair.producer)
        scale = torch.randint(-1, 2, (size,), generator=generator).float().exp2().to(before.device)
        with _restored(block):
            scale_consumers_(found, pair, scale)
            effect = float((run() - before).float().norm())
        with _restored(block):
            scale_(block, found, pair, scale)
            change = float((run() - before).float().norm())
        if change <= TOLERANCE * effect:
            kept.append(pair)
    return kept
