"""The running batch: rows of different age take steps together, and the places of those that end are filled again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmc.evaluate.engine.caches import slots
from llmc.evaluate.engine.network import Network

SLACK = 16
"""Slots at the left that no row uses any more, above which the batch is moved left."""

ROOM = 32
"""Slots for new tokens to begin with; more are added as they are needed."""


class States(NamedTuple):
    """What a model remembers of one prompt: keys and values (heads, tokens, width) of each layer."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    n_tokens: int


class Running:
    """Up to `n_rows` sequences in one batch, right-aligned at a common cursor.

    A row holds slots `start` to the cursor; what lies before belonged to a row that has ended and is masked.
    """

    def __init__(self, network: Network, n_rows: int) -> None:
        self.network = network
        self.n_rows = n_rows
        self.cursor = 0
        self.start = [0] * n_rows
        self.used = [False] * n_rows
        self.token = [0] * n_rows
        self._cache: Any = None

    def free(self) -> list[int]:
        """The rows that nobody uses."""
        return [row for row in range(self.n_rows) if not self.used[row]]

    def place(self, row: int, states: States, token: int, like: Any) -> None:
        """Give `row` to a prompt with `states`, of which `token` is the first new token."""
        if self._cache is None:
            self._cache = slots(like, self.n_rows, states.n_tokens + ROOM)
        if states.n_tokens > self.cursor:
            self._shift(states.n_tokens - self.cursor)
        for layer, (keys, values) in zip(self._cache.layers, states.layers, strict=True):
            layer.place(row, keys, values)
        self.start[row] = self.cursor - states.n_tokens
        self.used[row], self.token[row] = True, token

    def end(self, row: int) -> None:
        """Take `row` back."""
        self.used[row] = False

    def step(self) -> Tensor:
        """The logits (rows, vocabulary) after every row's last token; rows that nobody uses hold rubbish."""
        self._tidy()
        for row in self.free():
            self.start[row], self.token[row] = self.cursor, 0
        start = torch.tensor(self.start)
        mask = torch.arange(self.cursor + 1) >= start[:, None]
        how = {"attention_mask": mask.long().to(self.network.device)}
        if self.network.takes_positions:
            how["position_ids"] = (self.cursor - start)[:, None].to(self.network.device)
        rows = torch.arange(self.n_rows)
        logits = self.network.logits(torch.tensor(self.token)[:, None], rows, rows * 0, self._cache, **how)
        self.cursor += 1
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Shrink the batch to `rows`, which get the numbers 0, 1, …"""
        self.start, self.used = [self.start[r] for r in rows], [self.used[r] for r in rows]
        self.token = [self.token[r] for r in rows]
        self.n_rows = len(rows)
        for layer in self._cache.layers:
            layer.take(torch.tensor(rows, device=self.network.device))

    def _tidy(self) -> None:
        unused = min((self.start[row] for row in range(self.n_rows) if self.used[row]), default=0)
        if unused > max(SLACK, self.cursor // 4):
            self._shift(-unused)

    def _shift(self, n: int) -> None:
        for layer in self._cache.layers:
            layer.shift(n)
        self.cursor += n
        self.start = [max(0, start + n) for start in self.start]
