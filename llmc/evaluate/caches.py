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
    return any(type(layer) is DynamicSlidingWindowLayer for layer in cache.layers)


class _FrozenMixin:
    """Answers `update` with prefix and new states but keeps only the prefix: the memory is one layer's at a time."""

    keys: Tensor
    values: Tensor
    rows: Tensor

    def _adopt(self, source: Any, rows: Tensor) -> None:
        self.keys, self.values, self.rows = source.keys, source.values, rows
        self.dtype, self.device, self.is_initialized = source.dtype, source.device, True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        return self._join(self.keys, key_states), self._join(self.values, value_states)

    def _join(self, prefix: Tensor, new: Tensor) -> Tensor:
        if prefix.shape[0] == 1:
            return torch.cat([prefix.expand(new.shape[0], -1, -1, -1), new], dim=-2)
        return torch.cat([prefix[self.rows], new], dim=-2)


class _Frozen(_FrozenMixin, DynamicLayer):  # type: ignore[misc]
    def __init__(self, source: Any, rows: Tensor) -> None:
        super().__init__()
        self._adopt(source, rows)


class _FrozenSliding(_FrozenMixin, DynamicSlidingWindowLayer):  # type: ignore[misc]
    def __init__(self, source: Any, rows: Tensor) -> None:
        super().__init__(sliding_window=source.sliding_window)
        self._adopt(source, rows)
        self.cumulative_length = source.cumulative_length


def frozen(cache: Any, rows: Tensor) -> Any:
    """A cache in which row i of a batch continues prefix `rows[i]` of `cache`; the batch's own states aren't kept.

    Shapes: `cache` holds (prefixes, heads, tokens, width); `rows` (batch,) of prefix numbers.
    """
    view = copy.copy(cache)
    view.layers = [
        (_FrozenSliding if type(layer) is DynamicSlidingWindowLayer else _Frozen)(layer, rows) for layer in cache.layers
    ]
    return view


def repeated(cache: Any, rows: Tensor) -> Any:
    """A growing copy of `cache` in which row i begins with prefix `rows[i]`."""
    grown = copy.deepcopy(cache)
    grown.batch_select_indices(rows)
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
        self.dtype, self.device, self.is_initialized = source.dtype, source.device, True
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
        """Room for at least `n_slots`; grows by half so that copying stays rare."""
        missing = n_slots - self.key_slots.shape[2]
        if missing > 0:
            extra = max(missing, self.key_slots.shape[2] // 2)
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
