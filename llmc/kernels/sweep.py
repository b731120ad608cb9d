"""The column sweep on whatever device the weight is on: fused on a GPU where its kernels are in use, else plain."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from llmc.kernels import gpu_setting
from llmc.ops.factor import Feedback
from llmc.ops.grid import Grid
from llmc.ops.sweep import SweepSettings, Swept
from llmc.ops.sweep import sweep as plain_sweep

SUB_BLOCK = 16
"""Columns that lie in a lane's registers."""
BLOCK = 128
"""Columns that one launch settles."""
ROWS = 32
"""Rows of a program: one warp."""


class _Shape(NamedTuple):
    """How a sweep is cut: tests use smaller blocks."""

    block: int = BLOCK
    sub_block: int = SUB_BLOCK
    rows: int = ROWS


def sweep(weight: Tensor, factors: Feedback, settings: SweepSettings) -> Swept:
    """`llmc.ops.sweep.sweep`, by the fused kernel where the weight's device uses it and the settings fit it."""
    if gpu_setting.in_use(weight.device) and fits(settings):
        return fused_sweep(weight, factors, settings)
    return plain_sweep(weight, factors, settings)


def fits(settings: SweepSettings, shape: tuple[int, int, int] = _Shape()) -> bool:
    """Whether the kernel can do it: no choice, a pattern within a sub-block, or a choice once in whole blocks."""
    block, sub_block, _ = shape
    if settings.select is None:
        return True
    if settings.pattern is not None:
        return sub_block % settings.pattern.of == 0
    return settings.every % block == 0


def fused_sweep(
    weight: Tensor, factors: Feedback, settings: SweepSettings, *, shape: tuple[int, int, int] = _Shape()
) -> Swept:
    """The same result as the plain sweep's up to the order of sums between blocks; within one it is that of columns.

    Shapes: weight (out, in) float32, left untouched. Reduced-precision products must be off, as they are by default.
    """
    return _FusedSweep(weight, factors, settings, _Shape(*shape)).run()


class _FusedSweep:
    """The running state, as (columns, rows) filled up to whole blocks, columns in the order of processing."""

    def __init__(self, weight: Tensor, factors: Feedback, settings: SweepSettings, shape: _Shape) -> None:
        self.n_rows, self.width = weight.shape
        self.shape, self.order = shape, factors.order
        self.grid, self.pattern, self.every = settings.grid, settings.pattern, settings.every
        self.select = settings.select if self.pattern is None else None
        self.padded = -(-self.width // shape.block) * shape.block
        self.short = self._turned(weight)
        self.current = self.short.clone()
        extra = self.padded - self.width
        self.gain = torch.nn.functional.pad(factors.gain, (0, extra, 0, extra)).contiguous()
        self.cost = torch.nn.functional.pad(factors.cost, (0, extra))
        self.mask: Tensor | None = None
        if settings.keep is not None:
            self.mask = self._turned(settings.keep.to(torch.uint8))
        elif settings.select is not None:
            self.mask = torch.ones(self.short.shape, dtype=torch.uint8, device=weight.device)
        if self.grid is not None:
            self._spread(self.grid)

    def _turned(self, matrix: Tensor) -> Tensor:
        """(out, in) -> (padded columns, padded rows), a contiguous copy in the order of processing."""
        turned = matrix.T if self.order is None else matrix.T.index_select(0, self.order)
        fill = (0, -self.n_rows % self.shape.rows, 0, self.padded - self.width)
        return torch.nn.functional.pad(turned, fill).contiguous()

    def _spread(self, grid: Grid) -> None:
        """Scales, their inverses and lowest offsets as (groups, padded rows), and the group of each column."""
        fill = (0, -self.n_rows % self.shape.rows)
        self.scale = torch.nn.functional.pad(grid.scale.T, fill, value=1.0).contiguous()
        self.inverse = 1.0 / self.scale
        self.lowest = torch.nn.functional.pad(grid.lowest.T, fill).contiguous()
        columns = torch.arange(self.width, device=grid.scale.device) if self.order is None else self.order
        self.group = torch.nn.functional.pad(columns // grid.group_size, (0, self.padded - self.width)).int()

    def run(self) -> Swept:
        """The result in the original order of columns."""
        self._settle(0, self.padded)
        mask = None if self.mask is None else self._restored(self.mask.bool())
        return Swept(self._restored(self.current), mask)

    def _restored(self, matrix: Tensor) -> Tensor:
        found = matrix[: self.width, : self.n_rows]
        return (found if self.order is None else found.index_select(0, self.order.argsort())).T.contiguous()

    def _settle(self, start: int, stop: int) -> None:
        """Settle columns [start, stop), which have had all feedback from those before them."""
        if stop - start == self.shape.block:
            if self.select is not None and start % self.every == 0:
                self._choose(start, min(start + self.every, self.width))
            self._launch(start)
            return
        # Halves, in whole choices: half of all errors pass through one product, which is read once.
        unit = self.every if self.select is not None and stop - start > self.every else self.shape.block
        middle = start + max(unit, (stop - start) // 2 // unit * unit)
        self._settle(start, middle)
        self.current[middle:stop].addmm_(self.gain[start:middle, middle:stop].T, self.short[start:middle])
        self._settle(middle, stop)

    def _choose(self, start: int, stop: int) -> None:
        """Choose what stays of columns [start, stop), by what they would be if none of them were pruned."""
        assert self.select is not None and self.mask is not None
        span = slice(start, stop)
        short, heard = self.short[span, : self.n_rows], self.current[span, : self.n_rows]
        gain = self.gain[span, span].T
        running = short + torch.linalg.solve_triangular(gain, heard - short, upper=False, unitriangular=True)
        score = running.square_().mul_(self.cost[span].unsqueeze(1))
        mask = self.mask[span, : self.n_rows]
        score.masked_fill_(mask == 0, -1.0)
        mask &= self.select(score)

    def _launch(self, start: int) -> None:
        from llmc.kernels.sweep_triton import sweep_block_kernel

        on_grid = self.grid is not None
        unused = self.current
        keep, of = (0, 0) if self.pattern is None else self.pattern
        sub_block, rows = self.shape.sub_block, self.shape.rows
        sweep_block_kernel[(self.current.shape[1] // rows,)](
            self.current, self.short, self.gain, self.cost,
            unused if self.mask is None else self.mask,
            self.scale if on_grid else unused, self.inverse if on_grid else unused,
            self.lowest if on_grid else unused, self.group if on_grid else unused,
            self.current.shape[1], self.padded, start,
            BITS=0 if self.grid is None else self.grid.bits, SYMMETRIC=self.grid is None or self.grid.symmetric,
            HAS_KEEP=self.mask is not None, KEEP=keep, OF=of, N_SUBS=self.shape.block // sub_block, SB=sub_block,
            RB=rows, num_warps=rows // 32 or 1, num_stages=1, enable_fp_fusion=False,
        )  # fmt: skip
