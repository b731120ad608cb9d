"""The column sweep as a torch operator in the namespace `llmc`: weights and factors in, what it settled on out."""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.kernels import choose
from llmc.kernels.operators import register
from llmc.kernels.sweep import fits, fused_sweep
from llmc.ops.factor import Feedback
from llmc.ops.grid import Grid
from llmc.ops.masks import Pattern
from llmc.ops.sweep import SweepSettings, Swept
from llmc.ops.sweep import sweep as plain_sweep


def column_sweep(
    weight: Tensor,
    factors: Feedback,
    *,
    grid: Grid | None = None,
    keep: Tensor | None = None,
    pattern: Pattern | None = None,
) -> Swept:
    """`llmc.kernels.sweep.sweep` as one node, with N:M as its only choice: an operator can't take a function.

    Shapes: weight (out, in) float32, left untouched; `keep` of the result is all True where nothing is pruned.
    """
    scale, zero = (None, None) if grid is None else (grid.scale, grid.zero)
    bits, size, symmetric = (0, 0, True) if grid is None else (grid.bits, grid.group_size, grid.symmetric)
    result, kept = _sweep(
        weight,
        factors.gain,
        factors.cost,
        factors.order,
        keep,
        scale,
        zero,
        bits,
        size,
        symmetric,
        *(pattern or (0, 0)),
    )
    return Swept(result, kept)


def _problem(
    gain: Tensor,
    cost: Tensor,
    order: Tensor | None,
    keep: Tensor | None,
    scale: Tensor | None,
    zero: Tensor | None,
    bits: int,
    group_size: int,
    symmetric: bool,
    n_kept: int,
    of: int,
) -> tuple[Feedback, SweepSettings]:
    grid = None
    if scale is not None and zero is not None:
        grid = Grid(scale=scale, zero=zero, bits=bits, group_size=group_size, symmetric=symmetric)
    factors = Feedback(gain=gain, cost=cost, order=order, damping=0.0)
    if not of:
        return factors, SweepSettings(grid=grid, keep=keep)
    pattern = Pattern(n_kept, of)

    def select(score: Tensor) -> Tensor:
        return choose.keep_n_of_m(score.T, pattern).T

    return factors, SweepSettings(grid=grid, keep=keep, select=select, every=of, pattern=pattern)


def _whole(swept: Swept) -> tuple[Tensor, Tensor]:
    """An operator's results are always there."""
    return swept.result, torch.ones_like(swept.result, dtype=torch.bool) if swept.keep is None else swept.keep


def _sweep_cpu(weight: Tensor, *problem: object) -> tuple[Tensor, Tensor]:
    return _whole(plain_sweep(weight, *_problem(*problem)))  # type: ignore[arg-type]  # the schema has their types


def _sweep_cuda(weight: Tensor, *problem: object) -> tuple[Tensor, Tensor]:
    factors, settings = _problem(*problem)  # type: ignore[arg-type]
    if not fits(settings):
        raise UserError(f"the sweep's kernel takes N of 2, 4, 8 or 16, not of {settings.every}")
    return _whole(fused_sweep(weight, factors, settings))


def _sweep_fake(weight: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return weight.new_empty(weight.shape), weight.new_empty(weight.shape, dtype=torch.bool)


_sweep = register(
    "column_sweep(Tensor weight, Tensor gain, Tensor cost, Tensor? order, Tensor? keep, Tensor? scale, Tensor? zero, "
    "int bits, int group_size, bool symmetric, int n_kept, int of) -> (Tensor, Tensor)",
    cpu=_sweep_cpu,
    cuda=_sweep_cuda,
    fake=_sweep_fake,
)
