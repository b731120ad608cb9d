"""Running sums over calibration tokens: x x^T, and how far a changed weight moves a layer's output."""

from __future__ import annotations

from torch import Tensor

_PANELS = 4


def add_gram_(gram: Tensor, x: Tensor) -> None:
    """Adds x^T x to the upper block triangle of `gram`; `mirror_` fills the rest once at the end.

    Shapes: gram (in, in) float32; x (tokens, in) float32. A Gram matrix is symmetric, so of 16 panels 10 are computed.
    """
    width = x.shape[1]
    if width < 128 * _PANELS:
        gram.addmm_(x.t(), x)
        return
    edges = [width * i // _PANELS for i in range(_PANELS + 1)]
    for i in range(_PANELS):
        rows = slice(edges[i], edges[i + 1])
        gram[rows, edges[i] :].addmm_(x[:, rows].t(), x[:, edges[i] :])


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
        moved, whole = float(((change @ gram) * change).sum()), float(((weight @ gram) * weight).sum())
    elif rows is not None and len(rows):
        moved, whole = float((rows @ change.t()).square().sum()), float((rows @ weight.t()).square().sum())
    else:
        return None
    return max(moved, 0.0) / whole if whole > 0 else None
