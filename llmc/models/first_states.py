"""Whether a model reads its embedded tokens again once its first block has run, seen on a small copy."""

from __future__ import annotations

import functools
import json
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig, PreTrainedModel

from llmc.models.shrink import Held, small_model, small_tokens


def states_among(args: Any, kwargs: Any) -> Tensor:
    """The hidden states among the arguments that a block is called with."""
    found = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(found, Tensor):
        found = next(v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.is_floating_point())
    return found


def read_again(config: PretrainedConfig, prefix: str) -> bool:
    """Whether anything behind block 0 reads the embedded tokens; True too where no small copy can be run."""
    text = json.dumps(config.to_dict(), default=str, sort_keys=True)
    return _read_again(type(config).__name__, text, prefix, Held(config))


@functools.lru_cache(maxsize=8)
def _read_again(kind: str, text: str, prefix: str, held: Held) -> bool:
    try:
        return watch(small_model(held.config), prefix)
    except Exception:  # whatever a model's own code raises: what can't be seen is kept
        return True


class _Readers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees whether an operation is given one of `kept`, once that is `begun`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kept: list[Tensor] = []
        self.begun = self.read = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.begun and not self.read:
            places = {tensor.untyped_storage().data_ptr() for tensor in self.kept}
            given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
            self.read = any(tensor.untyped_storage().data_ptr() in places for tensor in given)
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def watch(model: PreTrainedModel, prefix: str) -> bool:
    """The same of a model at hand with blocks at `prefix`, seen in one forward."""
    readers = _Readers()

    def embedded(_: nn.Module, args: Any, out: Any) -> None:
        readers.kept.append(out)

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        readers.kept.append(states_among(args, kwargs))

    def after(_: nn.Module, args: Any, out: Any) -> None:
        readers.begun = True

    first = model.get_submodule(f"{prefix}.0")
    handles = [
        model.get_input_embeddings().register_forward_hook(embedded),
        first.register_forward_pre_hook(before, with_kwargs=True),
        first.register_forward_hook(after),
    ]
    try:
        with readers:
            model.base_model(input_ids=small_tokens(model.config, 1), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return readers.read or not readers.begun
