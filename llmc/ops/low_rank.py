"""The best low-rank stand-in for a weight, for the weight itself or for the outputs that its inputs make of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Thin(NamedTuple):
    """Two factors whose product stands for a weight. Shapes: left (out, rank), right (rank, in); float64."""

    left: Tensor
    right: Tensor


def rank_for(out_width: int, in_width: int, kept: float) -> int:
    """The rank whose two factors have `kept` times as many numbers as the matrix; at least 1."""
    return max(1, int(out_width * in_width * kept / (out_width + in_width)))


def saves(out_width: int, in_width: int, rank: int) -> bool:
    """Whether two factors of this rank have fewer numbers than the matrix."""
    return rank * (out_width + in_width) < out_width * in_width


def nearest(weight: Tensor, rank: int) -> Thin:
    """The factors of the given rank that are nearest to `weight` (out, in) in the Frobenius norm.

    From the eigenvectors of the smaller of W W^T and W^T W, in float64, which is faster than a singular value
    decomposition. Source: Eckart & Young 1936.
    """
    dense = weight.double()
    if dense.shape[0] <= dense.shape[1]:
        left = top_eigenvectors(dense @ dense.T, rank)
        return Thin(left, left.T @ dense)
    right = top_eigenvectors(dense.T @ dense, rank)
    return Thin(dense @ right, right.T)


def nearest_output(weight: Tensor, gram: Tensor, rank: int, root: Tensor | None = None) -> Thin:
    """The factors A B of the given rank with the least ||(W - A B) X|| over inputs X whose Gram matrix is `gram`.

    W X has the left singular vectors U of the eigendecomposition of W G W^T, and W ~ U_r (U_r^T W): so nothing is
    inverted, and a gram of less than full rank does no harm. When there are more outputs than inputs the same
    U_r comes from the smaller (W R)^T (W R), where G = R R^T; `root` hands that R in.

    Shapes: weight (out, in); gram, root (in, in) float64. The squared error is the sum of the discarded eigenvalues.
    Source: arXiv:2507.07580; the same optimum as arXiv:2403.07378.
    """
    dense = weight.double()
    if dense.shape[0] <= dense.shape[1]:
        left = top_eigenvectors(dense @ gram.double() @ dense.T, rank)
    else:
        seen = dense @ (square_root(gram) if root is None else root)
        left = torch.linalg.qr(seen @ top_eigenvectors(seen.T @ seen, rank)).Q
    return Thin(left, left.T @ dense)


def square_root(gram: Tensor) -> Tensor:
    """R with R R^T = gram, for a gram that may be singular. Shapes: (in, in) -> (in, in) float64."""
    values, vectors = torch.linalg.eigh(gram.double())
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def top_eigenvectors(matrix: Tensor, count: int) -> Tensor:
    """The eigenvectors of the `count` largest eigenvalues. Shapes: (n, n) symmetric -> (n, count)."""
    vectors: Tensor = torch.linalg.eigh(matrix).eigenvectors
    return vectors[:, -count:]
