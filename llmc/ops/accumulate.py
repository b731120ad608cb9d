"""Running sums over calibration tokens: x x^T, and how far a changed weight moves a layer's output."""

from __future__ import annotations

from torch import Tensor

from llmc.ops.product import add_product_, by_onednn, linear

_PANEL = 128
"""Columns that are computed at once. Timed from 128 to 512 on two CPUs' worth of AVX2: fewer waste less below the
diagonal, and from 128 on the products are still at full speed."""


def add_gram_(gram: Tensor, x: Tensor) -> None:
    """Adds x^T x to the upper block triangle of `gram`; `mirror_` fills the rest once at the end.

    Shapes: gram (in, in) float32; x (tokens, in) float32. A Gram matrix is symmetric: of 6 x 6 panels 21 are computed.
    """
    columns = x.t().contiguous() if by_onednn() else x.t()
    for start in range(0, x.shape[1], _PANEL):
        rows = slice(start, start + _PANEL)
        add_product_(gram[rows, start:], columns[rows], columns[start:])


def mirror_(gram: Tensor) -> None:
    """Makes `gram` symmetric from its upper triangle."""
    upper = gram.triu_()
    gram.add_(upper.triu(1).t())


def relative_output_error(dense: Tensor, new: Tensor, *, gram: Tensor | None, rows: Tensor | None) -> float | None:
    """||(W - V) X||^2 / ||W X||^2 for inputs X given by their Gram matrix or by sampled rows.

    Shapes: dense, new (out, in); gram (in, in); rows (tokens, in). None where the dense output is zero or no input
    was ever seen. The square, as most papers print it: 0.01 is 10 % of the output's length.
    """
    weight = dense.float()
    change = weight - new.float()
    if gram is not None:
        moved, whole = _output_energy(change, gram), _output_energy(weight, gram)
    elif rows is not None and len(rows):
        moved, whole = float(linear(rows, change).square().sum()), float(linear(rows, weight).square().sum())
    else:
        return None
    return max(moved, 0.0) / whole if whole > 0 else None


def _output_energy(weight: Tensor, gram: Tensor) -> float:
    """||W X||^2 = sum of (W G) * W, from the upper triangle of G alone: what lies off the diagonal counts twice."""
    total = 0.0
    for start in range(0, len(gram), 4 * _PANEL):
        stop = min(start + 4 * _PANEL, len(gram))
        panel = gram[:stop, start:stop].clone()
        panel[start:] *= 0.5
        total += 2 * float(linear(weight[:, :stop], panel.t()).mul_(weight[:, start:stop]).sum())
    return total
