"""Finds out how a model calls its blocks: the first hidden states, and the arguments that go with each block.

Works by running the model's own forward with recorders in the blocks' places; no architecture is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from llmc.errors import UserError
from llmc.models.skeleton import Skeleton


class _Stop(Exception):
    pass


@dataclass(frozen=True)
class Call:
    """How one block is called beside its hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class _Recorder(nn.Module):
    """Stands in a block's place, notes its arguments, and passes the hidden states on (or stops)."""

    def __init__(self, block: nn.Module, log: list[tuple[Tensor, Call]], *, stop: bool, as_tuple: bool) -> None:
        super().__init__()
        self._block, self._log, self._stop, self._as_tuple = [block], log, stop, as_tuple

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_block"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        rest = dict(kwargs)
        hidden, others = (args[0], args[1:]) if args else (rest.pop("hidden_states"), ())
        for name in ("past_key_values", "cache"):  # as transformers called it before 5.24, and since
            if rest.get(name) is not None:
                rest[name] = None
        self._log.append((hidden, Call(others, rest)))
        if self._stop:
            raise _Stop
        return (hidden,) if self._as_tuple else hidden


class Caller:
    """Calls the blocks of one model as the model itself would, without running the model.

    `tokens` are calibration batches; all batches of one size share their masks and positions, which holds because
    calibration sequences have one length and no padding.
    """

    def __init__(self, skeleton: Skeleton, blocks: nn.ModuleList, device: str = "cpu") -> None:
        self._model, self._blocks, self._device = skeleton.model, blocks, torch.device(device)
        self._calls: dict[int, list[Call]] = {}
        self._as_tuple = False

    @torch.no_grad()
    def first_hidden(self, batches: list[Tensor], also: int | None = None) -> list[Tensor]:
        """The inputs of block 0 for each batch of token ids (sequences, length).

        Blocks can then be called with batches of these sizes, and of `also` sequences. The embeddings and block 0
        must be filled.
        """
        hidden = []
        for tokens in batches:
            hidden.append(self._record(tokens, through=1)[0][0])
            if len(tokens) not in self._calls:
                self._as_tuple = self._gives_tuple(tokens[:1])
                self._learn(tokens)
        if also is not None and also not in self._calls:
            self._learn(batches[0][:also])
        return hidden

    def _learn(self, tokens: Tensor) -> None:
        self._calls[len(tokens)] = [c for _, c in self._record(tokens, through=len(self._blocks))]

    def _gives_tuple(self, tokens: Tensor) -> bool:
        """Whether a block gives its hidden states in a tuple."""
        states, call = self._record(tokens, through=1)[0]
        return isinstance(self._blocks[0](states, *call.args, **call.kwargs), tuple)

    def _record(self, tokens: Tensor, through: int) -> list[tuple[Tensor, Call]]:
        log: list[tuple[Tensor, Call]] = []
        held = list(self._blocks)
        for i in range(through):
            self._blocks[i] = _Recorder(held[i], log, stop=i == through - 1, as_tuple=self._as_tuple)
        try:
            self._model.base_model(input_ids=tokens, use_cache=False)
        except _Stop:
            pass
        finally:
            for i in range(through):
                self._blocks[i] = held[i]
        if len(log) != through:
            raise UserError(
                f"{type(self._model).__name__} called {len(log)} of its {through} blocks in order",
                hint="llmc handles decoders whose blocks run once each, one after the other",
            )
        return log

    @torch.no_grad()
    def __call__(self, index: int, hidden: Tensor) -> Tensor:
        """The output of block `index`, on its device, for `hidden` (sequences, length, width) from anywhere."""
        call = self._calls[len(hidden)][index]
        moved = tree_map_only(Tensor, lambda t: t.to(self._device), (hidden, call.args, call.kwargs))
        out = self._blocks[index](moved[0], *moved[1], **moved[2])
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result
