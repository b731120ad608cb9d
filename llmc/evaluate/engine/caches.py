"""Key-value caches of two kinds: a frozen prefix that many rows read, and slots for the rows of a running batch.

Both are layers of transformers' own cache, so a model's masks (causal, sliding window) are built by the model.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer


def shareable(cache: Any) -> bool:
    """Whether the cache holds nothing but keys and values of plain or sliding-window attention.

    State-space, hybrid, quantised and layer-sharing caches hold something else, and can't be split by token.
    """
    layers = getattr(cache, "layers", None) or ()
    return len(layers) > 0 and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) and layer.is_initialized for layer in layers
    )


def slides(cache: Any) -> bool:
    """Whether any layer forgets what is outside a window."""
    return any(isinstance(layer, DynamicSlidingWindowLayer) for layer in cache.layers)


class _FrozenMixin:
    """Answers `update` with what it holds and the new states together, and doesn't keep the new ones.

    So what rows share is stored once, and joined with what is theirs one layer at a time. With `extends` the new states
    are kept after all, once: the rows then continue what they share by prefixes of their own.
    """

    parts: list[tuple[Tensor, Tensor]]
    """Keys and values (1 or rows, heads, tokens, width) of consecutive tokens; a single row stands for all."""
    rows: Tensor
    extends: bool

    def _adopt(self, source: Any, rows: Tensor, extends: bool) -> None:
        self.parts, self.rows, self.extends = _parts(source), rows, extends
        self.keys, self.values = self.parts[0]
        self.dtype, self.device, self.is_initialized = self.keys.dtype, self.keys.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        keys = torch.cat([*(_of(part, self.rows) for part, _ in self.parts), key_states], dim=-2)
        values = torch.cat([*(_of(part, self.rows) for _, part in self.parts), value_states], dim=-2)
        if self.extends:
            self._keep(key_states, value_states, keys, values)
        return keys, values

    def _keep(self, new_keys: Tensor, new_values: Tensor, keys: Tensor, values: Tensor) -> None:
        raise NotImplementedError


class _Frozen(_FrozenMixin, DynamicLayer):  # type: ignore[misc]
    def __init__(self, source: Any, rows: Tensor, extends: bool) -> None:
        super().__init__()
        self._adopt(source, rows, extends)

    def get_seq_length(self) -> int:
        return sum(keys.shape[-2] for keys, _ in self.parts)

    def _keep(self, new_keys: Tensor, new_values: Tensor, keys: Tensor, values: Tensor) -> None:
        self.parts.append((new_keys, new_values))


class _FrozenSliding(_FrozenMixin, DynamicSlidingWindowLayer):  # type: ignore[misc]
    def __init__(self, source: Any, rows: Tensor, extends: bool) -> None:
        super().__init__(sliding_window=source.sliding_window)
        self._adopt(source, rows, extends)
        self.cumulative_length = source.cumulative_length

    def _keep(self, new_keys: Tensor, new_values: Tensor, keys: Tensor, values: Tensor) -> None:
        self.cumulative_length += new_keys.shape[-2]
        seen = 1 - self.sliding_window
        self.parts = [(keys[:, :, seen:], values[:, :, seen:])]


def _parts(layer: Any) -> list[tuple[Tensor, Tensor]]:
    return list(layer.parts) if isinstance(layer, _FrozenMixin) else [(layer.keys, layer.values)]


def _of(part: Tensor, rows: Tensor) -> Tensor:
    return part.expand(len(rows), -1, -1, -1) if part.shape[0] == 1 else part[rows]


def frozen(cache: Any, rows: Tensor, *, extends: bool = False) -> Any:
    """A cache in which row i of a batch continues prefix `rows[i]` of `cache`.

    The batch's own states aren't kept, unless it `extends` the prefixes: then they are, by the first call of the model.
    Shapes: `cache` holds (prefixes, heads, tokens, width); `rows` (batch,) of prefix numbers.
    """
    view = copy.copy(cache)
    view.layers = [
        (_FrozenSliding if isinstance(layer, DynamicSlidingWindowLayer) else _Frozen)(layer, rows, extends)
        for layer in cache.layers
    ]
    return view


def repeated(cache: Any, rows: Tensor) -> Any:
    """A growing copy of `cache` in which row i begins with prefix `rows[i]`."""
    grown = copy.copy(cache)
    grown.layers = [_growing(layer, rows) for layer in cache.layers]
    return grown


def _growing(layer: Any, rows: Tensor) -> DynamicLayer:
    if isinstance(layer, DynamicSlidingWindowLayer):
        grown = DynamicSlidingWindowLayer(sliding_window=layer.sliding_window)
        grown.cumulative_length = layer.cumulative_length
    else:
        grown = DynamicLayer()
    grown.lazy_initialization(layer.keys, layer.values)
    grown.keys = torch.cat([_of(keys, rows) for keys, _ in _parts(layer)], dim=-2)
    grown.values = torch.cat([_of(values, rows) for _, values in _parts(layer)], dim=-2)
    return grown


class _SlotMixin:
    """A buffer (rows, heads, slots, width) that is written in place at one cursor for all rows.

    Rows are right-aligned: the newest state of every row lies just before the cursor, so the distance of two slots of a
    row is the distance of their tokens, and a sliding window counted in slots is the window counted in tokens.
    """

    n_slots: int

    def _open(self, source: Any, n_rows: int, capacity: int) -> None:
        _, heads, _, width = source.keys.shape
        self.key_slots = source.keys.new_zeros((n_rows, heads, capacity, width))
        self.value_slots = source.values.new_zeros((n_rows, heads, capacity, source.values.shape[-1]))
        self.dtype, self.device, self.is_initialized = source.keys.dtype, source.keys.device, True
        self.keys, self.values = self.key_slots[:, :, :0], self.value_slots[:, :, :0]
        self.n_slots = 0

    def window(self) -> int | None:
        """Past slots that a new token can see; None: all."""
        return None

    def get_seq_length(self) -> int:
        return self.n_slots

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        n_new, window = key_states.shape[-2], self.window()
        start = 0 if window is None else max(0, self.n_slots - window)
        end = self.n_slots + n_new
        self.reserve(end)
        self.key_slots[:, :, self.n_slots : end] = key_states
        self.value_slots[:, :, self.n_slots : end] = value_states
        self.n_slots = end
        return self.key_slots[:, :, start:end], self.value_slots[:, :, start:end]

    def reserve(self, n_slots: int) -> None:
        """Room for at least `n_slots`; grows by a quarter so that copying stays rare."""
        missing = n_slots - self.key_slots.shape[2]
        if missing > 0:
            extra = max(missing, self.key_slots.shape[2] // 4)
            self.key_slots = torch.nn.functional.pad(self.key_slots, (0, 0, 0, extra))
            self.value_slots = torch.nn.functional.pad(self.value_slots, (0, 0, 0, extra))

    def place(self, row: int, keys: Tensor, values: Tensor) -> None:
        """Write the states (heads, tokens, width) of a new row so that they end at the cursor."""
        first = self.n_slots - keys.shape[1]
        self.key_slots[row, :, first : self.n_slots] = keys
        self.value_slots[row, :, first : self.n_slots] = values

    def shift(self, n: int) -> None:
        """Move all states right by `n` slots (left where negative, dropping what falls off)."""
        self.reserve(self.n_slots + max(n, 0))
        old = slice(max(-n, 0), self.n_slots)
        new = slice(max(n, 0), self.n_slots + n)
        self.key_slots[:, :, new] = self.key_slots[:, :, old].clone()
        self.value_slots[:, :, new] = self.value_slots[:, :, old].clone()
        self.n_slots += n

    def take(self, rows: Tensor) -> None:
        """Keep only `rows`, in that order."""
        self.key_slots, self.value_slots = self.key_slots[rows], self.value_slots[rows]


class SlotLayer(_SlotMixin, DynamicLayer):  # type: ignore[misc]
    """Slots for a layer that sees everything before."""

    def __init__(self, source: Any, n_rows: int, capacity: int) -> None:
        super().__init__()
        self._open(source, n_rows, capacity)


class SlidingSlotLayer(_SlotMixin, DynamicSlidingWindowLayer):  # type: ignore[misc]
    """Slots for a layer that sees a window; a token sees itself and `sliding_window - 1` before."""

    def __init__(self, source: Any, n_rows: int, capacity: int) -> None:
        super().__init__(sliding_window=source.sliding_window)
        self._open(source, n_rows, capacity)

    def window(self) -> int:
        return int(self.sliding_window) - 1

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many slots `update` will give back, and the number of the first."""
        first = max(0, self.n_slots - self.window())
        return self.n_slots - first + query_length, first


def slots(like: Any, n_rows: int, capacity: int) -> DynamicCache:
    """An empty slot cache with the layers of `like`, a cache that the model has filled."""
    cache = copy.copy(like)
    cache.layers = [
        (SlidingSlotLayer if type(layer) is DynamicSlidingWindowLayer else SlotLayer)(layer, n_rows, capacity)
        for layer in like.layers
    ]
    return cache
