"""Which linear layers to leave alone, found by running a small copy of the model and watching its numbers flow.

A layer whose output is ranked (top-k) decides where tokens go; one whose weight is read by other code than its own
can't become packed codes. Names don't tell either.
"""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import PretrainedConfig, PreTrainedModel

from llmc.models.shrink import Held, small_model

logger = logging.getLogger(__name__)

LEFT = "_llmc_left"
"""The attribute of a module that compression leaves alone: the reason."""
RANKED = "its output is ranked: it decides where tokens go"
READ_ELSEWHERE = "its weight is read by other code than its own"
NEVER_CALLED = "the model never calls it"
SHARED = "several blocks share it"

_RANKING = ("topk", "sort", "argsort", "argmax")
_MIXING = ("mm", "bmm", "addmm", "baddbmm", "linear", "convolution", "conv1d", "embedding", "_grouped_mm", "mv", "dot")


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows each layer's output through everything but products, and sees who reads the weights."""

    def __init__(self, owners: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.owners, self.inside = owners, [""]
        self.sources: Any = WeakTensorKeyDictionary()
        self.ranked: set[str] = set()
        self.read: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        for tensor in tensors:
            owner = self.owners.get(tensor.untyped_storage().data_ptr())
            if owner is not None and owner != self.inside[-1]:
                self.read.add(owner)
        name = func.overloadpacket.__name__
        came: set[str] = set().union(*(self.sources.get(t, ()) for t in tensors)) if tensors else set()
        if name in _RANKING:
            self.ranked |= came
        if came and name not in _MIXING and "attention" not in name:
            for tensor in tree_leaves(out):
                if isinstance(tensor, Tensor):
                    self.sources[tensor] = came
        return out


def left_alone(config: PretrainedConfig, prefix: str) -> dict[str, str]:
    """Reasons by the name of a layer within its block; empty where no small copy can be run."""
    text = json.dumps(config.to_dict(), default=str, sort_keys=True)
    return dict(_left_alone(type(config).__name__, text, prefix, Held(config)))


@functools.lru_cache(maxsize=8)
def _left_alone(kind: str, text: str, prefix: str, held: Held) -> dict[str, str]:
    try:
        return watch(small_model(held.config), prefix)
    except Exception as error:
        logger.warning("no small copy of %s can be run (%s): routers are told by their names alone", kind, error)
        return {}


@torch.no_grad()
def watch(model: PreTrainedModel, prefix: str) -> dict[str, str]:
    """The same of a model at hand with blocks at `prefix`, seen in one forward."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.startswith(prefix + ".")}
    watch = _Watch({m.weight.untyped_storage().data_ptr(): n for n, m in layers.items()})
    called: set[str] = set()
    handles = []
    for name, module in layers.items():

        def before(_: nn.Module, args: Any, name: str = name) -> None:
            watch.inside.append(name)
            called.add(name)

        def after(_: nn.Module, args: Any, out: Tensor, name: str = name) -> None:
            watch.inside.pop()
            watch.sources[out] = {name}

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    tokens = (torch.arange(24) * 7919 % (model.config.get_text_config(decoder=True).vocab_size - 4) + 3).view(1, 24)
    try:
        with watch:
            model(input_ids=tokens, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()

    def inner(name: str) -> str:
        return name[len(prefix) + 1 :].partition(".")[2]

    never = {inner(n) for n in set(layers) - called} - {inner(n) for n in called}
    found = {name: NEVER_CALLED for name in never if not any(piece.isdigit() for piece in name.split("."))}
    found |= {inner(name): READ_ELSEWHERE for name in watch.read}
    return found | {inner(name): RANKED for name in watch.ranked}


def mark_left_alone(model: PreTrainedModel, config: PretrainedConfig, prefix: str) -> None:
    """Marks in `model` the layers of its blocks that compression leaves alone."""
    found = left_alone(config, prefix)
    owners: dict[int, list[nn.Module]] = {}
    for name, module in model.get_submodule(prefix).named_modules(remove_duplicate=False):
        if not isinstance(module, nn.Linear):
            continue
        owners.setdefault(id(module.weight), []).append(module)
        if reason := found.get(name.partition(".")[2]):
            setattr(module, LEFT, reason)
    for modules in owners.values():
        for module in modules if len(modules) > 1 else ():
            setattr(module, LEFT, SHARED)
