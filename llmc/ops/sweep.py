"""The column sweep of GPTQ and SparseGPT: settle one input column at a time, let the later ones make up for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from llmc.ops.factor import Feedback
from llmc.ops.grid import Grid, clamp_
from llmc.ops.masks import Pattern
from llmc.ops.product import add_product_

LEAF = 16
"""Columns that pass errors on one by one; wider spans do it by one matrix product. Timed best at 16 to 32."""

Select = Callable[[Tensor], Tensor]
"""Scores (columns, out) of the next columns, at least 0 -> True where a weight stays."""


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """What happens to each column, besides making up for those before it."""

    grid: Grid | None = None
    """The grid that weights are rounded to."""
    keep: Tensor | None = None
    """(out, in) bool: what is marked as pruned becomes 0."""
    select: Select | None = None
    """Chooses what else becomes 0, from w**2 * cost of the weights as they stand when it is asked."""
    every: int = 1
    """The columns that `select` chooses from at a time."""
    pattern: Pattern | None = None
    """Says that `select` keeps the highest of every so many columns, so that a kernel may do it itself."""


class Swept(NamedTuple):
    """What a sweep settled on, columns in their own order. Shapes: (out, in)."""

    result: Tensor
    """float32: the weights, or on a grid the whole numbers (code - zero)."""
    keep: Tensor | None
    """Where a weight stays; None if nothing was pruned."""


def sweep(weight: Tensor, factors: Feedback, settings: SweepSettings) -> Swept:
    """The weights that result when each column in turn is pruned, or rounded to its grid, and the later ones adapt.

    Rows are independent of each other except in `settings.select`. The work is done on the transpose, so that a column
    is contiguous, and by halves, so that most of it is matrix products. Shapes: weight (out, in) float32, left
    untouched.
    """
    return _Sweep(weight, factors, settings).run()


class _Sweep:
    """The running state of one sweep. All matrices are (in, out), columns in the order of processing."""

    def __init__(self, weight: Tensor, factors: Feedback, settings: SweepSettings) -> None:
        order = factors.order
        self.order = order
        self.gain, self.cost = factors.gain, factors.cost
        # A settled row of `current` holds its result, one of `short` by how much that falls short of the original.
        self.short = _in_order(weight, order)
        self.current = self.short.clone()
        self.rows = list(self.current.unbind(0)), list(self.short.unbind(0))
        self.mask = None if settings.keep is None else _in_order(settings.keep, order)
        self.marked = self.mask is not None
        self.select, self.every = settings.select, settings.every
        if self.select is not None:
            if self.mask is None:
                self.mask = torch.empty_like(self.current, dtype=torch.bool)
            self.unheard = _inverses(self.gain, self.every)
        self.grid = settings.grid
        if self.grid is not None:
            self._spread(self.grid)

    def _spread(self, grid: Grid) -> None:
        """Scales and lowest offsets by group, as contiguous rows over the outputs."""
        width = len(self.current)
        columns = torch.arange(width) if self.order is None else self.order.cpu()
        self.group = (columns // grid.group_size).tolist()
        self.scale = list(grid.scale.T.contiguous().unbind(0))
        self.lowest = list(grid.lowest.T.contiguous().unbind(0))

    def run(self) -> Swept:
        """The result in the original order of columns."""
        self._settle(0, len(self.current))
        keep = None if self.mask is None else _restored(self.mask, self.order)
        # What `short` held is done with; memory that was in use before is filled in half the time of new memory.
        return Swept(_restored(self.current, self.order, self.short), keep)

    def _settle(self, start: int, stop: int) -> None:
        """Settle columns [start, stop), which have had all feedback from those before them."""
        if stop - start <= LEAF:
            for i in range(start, stop):
                self._settle_one(i, stop)
            return
        middle = start + _half(stop - start, self.every)
        self._settle(start, middle)
        add_product_(self.current[middle:stop], self.gain[start:middle, middle:stop].T, self.short[start:middle].T)
        self._settle(middle, stop)

    def _settle_one(self, i: int, stop: int) -> None:
        """Settle column i and feed its error to the columns up to `stop`."""
        if self.select is not None and i % self.every == 0:
            self._choose(i, min(i + self.every, len(self.current)))
        current, short = self.rows[0][i], self.rows[1][i]
        if self.grid is not None:
            scale, lowest = self.scale[self.group[i]], self.lowest[self.group[i]]
            clamp_(current.div_(scale).round_(), lowest, self.grid.bits, symmetric=self.grid.symmetric)
        if self.mask is not None:
            current.mul_(self.mask[i])
        if self.grid is None:
            short.sub_(current)
        else:
            short.addcmul_(current, scale, value=-1)
        if i + 1 < stop:
            self.current[i + 1 : stop].addr_(self.gain[i, i + 1 : stop], short)

    def _choose(self, start: int, stop: int) -> None:
        """Choose what stays of columns [start, stop); what was pruned before has the score -1."""
        assert self.select is not None and self.mask is not None
        # A column past the next one has yet to hear from the unsettled ones between: were all kept, by how much would
        # each fall short? That makes the weights that the method's score is about.
        span = slice(start, stop)
        short = self.short[span]
        running = torch.addmm(short, self.unheard[start // self.every], self.current[span] - short)
        score = running.square_().mul_(self.cost[span].unsqueeze(1))
        if self.marked:
            score.masked_fill_(~self.mask[span], -1.0)
            self.mask[span] &= self.select(score)
        else:
            self.mask[span] = self.select(score)


def _inverses(gain: Tensor, every: int) -> list[Tensor]:
    """The inverse of `gain`'s transpose within each span of `every` columns, the last one perhaps shorter."""
    whole = len(gain) // every * every
    blocks = gain[:whole].view(-1, every, len(gain))
    within = torch.stack([block[:, n * every : (n + 1) * every] for n, block in enumerate(blocks)]) if whole else None
    parts = [] if within is None else [within]
    if whole < len(gain):
        parts.append(gain[whole:, whole:].unsqueeze(0))
    found: list[Tensor] = []
    for part in parts:
        lower = part.mT.double()
        one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device).expand_as(lower)
        found.extend(torch.linalg.solve_triangular(lower, one, upper=False, unitriangular=True).float())
    return found


def _half(width: int, every: int) -> int:
    """About half of `width`, in whole spans of `every` columns while there is more than one of them."""
    unit = every if width > every else 1
    return max(unit, width // 2 // unit * unit)


def _in_order(matrix: Tensor, order: Tensor | None) -> Tensor:
    """(out, in) -> a contiguous (in, out) copy with its rows in the order of processing."""
    turned = matrix.T.clone(memory_format=torch.contiguous_format)
    return turned if order is None else turned.index_select(0, order)  # whole rows: 4 times as fast as columns


def _restored(matrix: Tensor, order: Tensor | None, room: Tensor | None = None) -> Tensor:
    """The inverse of `_in_order`, in the memory of `room` if that is given."""
    rows = matrix if order is None else matrix.index_select(0, order.argsort())
    if room is None:
        return rows.T.contiguous()
    return room.view(rows.shape[::-1]).copy_(rows.T)
