"""Collects the input statistics of a block's matrices while the block runs on calibration batches.

Matrices that read the very same tensor (q, k and v; gate and up) share one statistic: who shares is seen on the
first batch, not looked up by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmc.compress.method import LayerStats, Needs
from llmc.errors import UserError
from llmc.models.layout import Matrix
from llmc.ops.accumulate import add_gram_, mirror_

SAMPLED_ROWS = 512
"""Calibration tokens kept to measure the output error where no Gram matrix is collected."""


class LastInputSeen(Exception):
    """Raised inside a block once every statistic of the batch has been taken; what would follow is not needed."""


class Collector:
    """Hooks on a block's matrices; use as a context manager, run the batches, then read `stats` and `rows`.

    `where` names the block in messages. Raises `UserError` at the batch and matrix where NaN or infinity appears.
    """

    def __init__(self, where: str, found: Sequence[Matrix], needs: Needs, n_batches: int, *, abs_sum: bool) -> None:
        self._where, self._needs, self._abs_sum = where, needs, abs_sum
        self._found = {m.name: m for m in found}
        self._quota = max(1, -(-SAMPLED_ROWS // max(1, n_batches)))
        self._handles: list[Any] = []
        self._leader: dict[str, str] = {}
        self._batch, self._first = 0, True
        self._inputs: dict[str, Tensor] = {}
        self._last: str | None = None
        self._stats: dict[str, LayerStats] = {}
        self._rows: dict[str, list[Tensor]] = {}

    def __enter__(self) -> Collector:
        for name, matrix in self._found.items():
            self._handles.append(matrix.module.register_forward_pre_hook(self._hook(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        for stats in self._stats.values():
            if stats.gram is not None:
                mirror_(stats.gram)
                stats.sq_norm = stats.gram.diagonal().clone()

    def end_batch(self) -> None:
        """Says that one batch has passed."""
        if self._first and not any(m.expert for m in self._found.values()):
            self._last = next(reversed(self._inputs), None)
        self._inputs.clear()
        self._first = False
        self._batch += 1

    def _hook(self, name: str) -> Any:
        def look(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            x = args[0].detach()
            expert = self._found[name].expert
            if self._first or expert:
                shared = (k for k, seen in self._inputs.items() if seen is x or _same(seen, x))
                self._leader.setdefault(name, next(shared, name))
                self._inputs.setdefault(name, x)
            if self._leader.get(name, name) == name:
                self._add(name, x.reshape(-1, x.shape[-1]).float())
            if not self._first and name == self._last:
                raise LastInputSeen

        return look

    def _add(self, name: str, x: Tensor) -> None:
        width = x.shape[1]
        if name not in self._stats:
            self._stats[name] = self._empty(width, x.device)
            self._rows[name] = []
        stats = self._stats[name]
        stats.n_tokens += len(x)
        if stats.gram is not None:
            add_gram_(stats.gram, x)
            sums = stats.gram.diagonal()
        else:
            sums = x.square().sum(0)
            if stats.sq_norm is not None:
                sums = stats.sq_norm.add_(sums)
        if not bool(torch.isfinite(sums).all()):
            raise UserError(
                f"{self._where}.{name} got NaN or infinity as input in calibration batch {self._batch}",
                hint="try --dtype float32, or look at this part of the calibration text",
            )
        if stats.abs_sum is not None:
            stats.abs_sum += x.abs().sum(0)
        if stats.gram is None and len(x):
            step = torch.linspace(0, len(x) - 1, min(self._quota, len(x))).long()
            self._rows[name].append(x[step])

    def of(self, name: str) -> LayerStats:
        """The statistics of the matrix `name`; of zero tokens if no token ever reached it."""
        leader = self._leader.get(name, name)
        if leader not in self._stats:
            weight = self._found[name].weight
            return self._empty(weight.shape[1], weight.device)
        return self._stats[leader]

    def _empty(self, width: int, device: torch.device) -> LayerStats:
        return LayerStats(
            n_tokens=0,
            sq_norm=torch.zeros(width, device=device) if self._needs >= Needs.SQ_NORM else None,
            abs_sum=torch.zeros(width, device=device) if self._abs_sum else None,
            gram=torch.zeros(width, width, device=device) if self._needs == Needs.GRAM else None,
        )

    def rows_of(self, name: str) -> Tensor | None:
        """Sampled input rows (tokens, in) float32 of the matrix `name`; None where a Gram matrix stands instead."""
        rows = self._rows.get(self._leader.get(name, name))
        return torch.cat(rows) if rows else None


def _same(a: Tensor, b: Tensor) -> bool:
    return a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.numel() > 0
