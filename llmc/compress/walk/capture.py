"""Runs a model's own forward for every calibration batch at once, each held before the block that is next.

Whatever a model hands its blocks beside the hidden states (positions, embeddings a layer, keys of an earlier block,
residual streams), and whatever it does between them, is its own code: no architecture is named, nothing is guessed.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import threading
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from llmc.errors import UserError
from llmc.models.first_states import read_again, states_among
from llmc.models.skeleton import Skeleton

_local = threading.local()
"""`run` is the forward that this thread carries, if any."""


class _Stop(BaseException):
    pass


class Run:
    """One batch on its way through the model: `index` is the block that it waits before, with its arguments."""

    def __init__(self, forward: Callable[[], Any], n_blocks: int) -> None:
        self.index, self.args, self.kwargs = -1, (), {}  # type: int, tuple[Any, ...], dict[str, Any]
        self._forward, self._n_blocks = forward, n_blocks
        self.embedded: list[Tensor] = []
        """What is let go of when block 0 has run: the embedded tokens, which the held forward has no more use for."""
        self._answer: Any = None
        self._failure: BaseException | None = None
        self._stopped = False
        self._go, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def start(self) -> None:
        """Runs the forward up to the first block."""
        self._thread.start()
        self._arrived()

    def answer(self, out: Any) -> None:
        """Gives the forward what its block gives back, and lets it run up to the next one."""
        self._let_go()
        self._answer = out
        self._go.release()
        self._arrived()

    def _let_go(self) -> None:
        """Frees the embedded tokens behind the held forward's back: one NaN of their shape stands where they were."""
        for tensor in self.embedded:
            nan = torch.full((), float("nan"), dtype=tensor.dtype)
            tensor.set_(nan.untyped_storage(), 0, tensor.shape, [0] * tensor.dim())
        self.embedded = []

    def stop(self) -> None:
        """Ends the forward where it stands."""
        if self._thread.is_alive():
            self._stopped = True
            self._go.release()
            self._thread.join()

    def gate(self, index: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Called in a block's place, in the forward's own thread."""
        if index != self.index + 1:
            raise UserError(
                f"the model calls block {index} after block {self.index}",
                hint="llmc handles decoders whose blocks run once each, one after the other",
            )
        kwargs = {k: None if isinstance(v, Cache) else v for k, v in kwargs.items()}
        if index == 0 and self.embedded:
            self.embedded.append(states_among(args, kwargs))
        self.index, self.args, self.kwargs = index, args, kwargs
        self._waits.release()
        self._go.acquire()
        if self._stopped:
            raise _Stop
        out, self._answer = self._answer, None
        self.args, self.kwargs = (), {}
        return out

    def _carry(self) -> None:
        _local.run = self
        try:
            with torch.no_grad():
                self._forward()
            self._failure = UserError(
                f"the model ended after {self.index + 1} of its {self._n_blocks} blocks",
                hint="llmc handles decoders whose blocks run once each, one after the other",
            )
        except _Stop:
            pass
        except BaseException as error:
            self._failure = error
        finally:
            self._waits.release()

    def _arrived(self) -> None:
        self._waits.acquire()
        if self._failure is not None:
            raise self._failure


class Caller:
    """Calls the blocks of one model as the model itself does, one block at a time for all batches.

    The blocks stay where they are; a block that is called by a held forward waits for what it gives back.
    """

    def __init__(self, skeleton: Skeleton, prefix: str, blocks: nn.ModuleList, device: str = "cpu") -> None:
        self._model, self._blocks, self._device = skeleton.model, blocks, torch.device(device)
        self._config, self._prefix = skeleton.config, prefix
        self._runs: list[Run] = []

    def start(self, batches: Sequence[Tensor]) -> list[Run]:
        """A run for each batch of token ids (sequences, length), held before block 0.

        The embeddings and what else stands outside the blocks must be filled.
        """
        for index, block in enumerate(self._blocks):
            _put_gate(block, index)
        embeddings = self._model.get_input_embeddings()
        handle = None if read_again(self._config, self._prefix) else embeddings.register_forward_hook(_note_embedded)
        for tokens in batches:
            run = Run(functools.partial(self._forward, tokens), len(self._blocks))
            self._runs.append(run)
            run.start()
        if handle is not None:
            handle.remove()
        return self._runs

    def _forward(self, tokens: Tensor) -> Any:
        return self._model.base_model(input_ids=tokens, use_cache=False)

    def resume(self, index: int, outputs: Sequence[Any]) -> None:
        """Leads all runs to block `index`, given what the block before it made of each batch."""
        for run, out in zip(self._runs, outputs, strict=True):
            for _ in range(index):
                run.answer(out)

    def stop(self) -> None:
        """Ends all runs."""
        for run in self._runs:
            run.stop()
        self._runs = []

    @torch.no_grad()
    def __call__(self, index: int, run: Run) -> Tensor:
        """The hidden states that block `index` makes of the run's batch, on its device; nothing moves on."""
        return hidden_of(self._call(index, run, copied=True))

    @torch.no_grad()
    def advance(self, index: int, run: Run, *, last: bool) -> Any:
        """All that block `index` gives back, on the CPU; the run goes on to the next block unless it was the `last`."""
        out = moved(self._call(index, run, copied=False), torch.device("cpu"))
        if last:
            run.stop()
        else:
            run.answer(out)
        return out

    def _call(self, index: int, run: Run, *, copied: bool) -> Any:
        assert run.index == index
        args, kwargs = moved((run.args, run.kwargs), self._device, copied=copied)
        out = self._blocks[index](*args, **kwargs)
        if not copied:
            moved((run.args, run.kwargs), torch.device("cpu"), copied=False)  # what it left in a shared dictionary
        return out


def _put_gate(block: nn.Module, index: int) -> None:
    real = block.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        run = getattr(_local, "run", None)
        return real(*args, **kwargs) if run is None else run.gate(index, args, kwargs)

    block.forward = forward


def _note_embedded(module: nn.Module, args: Any, out: Any) -> None:
    run = getattr(_local, "run", None)
    if run is not None:
        run.embedded.append(out)


def hidden_of(out: Any) -> Tensor:
    """The hidden states in what a block gives back: the thing itself, or the first of several."""
    result: Tensor = out[0] if isinstance(out, tuple | list) else out
    return result


def moved(value: Any, device: torch.device, *, copied: bool = True) -> Any:
    """`value` with its tensors on `device`; dictionaries that a block may write in stay the same unless `copied`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(moved(v, device, copied=copied) for v in value)
    if isinstance(value, list):
        return [moved(v, device, copied=copied) for v in value]
    if isinstance(value, MutableMapping):
        made = copy.copy(value) if copied else value
        for key in list(made):
            made[key] = moved(made[key], device, copied=copied)
        return made
    return value


def call_fingerprint(run: Run) -> str:
    """A hash of every number that the next block is called with."""
    found = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, tuple | list):
            for each in value:
                add(each)
        elif isinstance(value, MutableMapping):
            for key in value:
                found.update(str(key).encode())
                add(value[key])

    add((run.args, run.kwargs))
    return found.hexdigest()
