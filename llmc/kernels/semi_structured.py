"""2:4 sparse products through torch's own type, and only where a timed check of that shape says they are faster."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.sparse import SparseSemiStructuredTensorCUSPARSELT, SparseSemiStructuredTensorCUTLASS
from torch.sparse._semi_structured_conversions import sparse_semi_structured_from_dense_cutlass

from llmc.errors import UserError

MULTIPLES = {torch.float16: (32, 64), torch.bfloat16: (32, 64)}
"""What (rows, columns) must be multiples of, for either of torch's two backends.

Not float32: there torch keeps one of every two weights, and drops the other of a 2:4 pair without a word.
"""
WEIGHT_BYTES = 1.125
"""Of a weight, zeros included: half of the 16-bit values, and two 2-bit positions for every four."""
LEAST_ROWS = 1024
"""Rows of x below which nobody has seen 2:4 win; it isn't tried there."""
REPEATS = 7

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class TwoOfFour:
    """What torch's 2:4 type holds, which is opaque: its layout is the backend's."""

    packed: Tensor
    """The kept values, of float16 or bfloat16; with cuSPARSELt's positions behind them."""
    meta: Tensor | None
    """CUTLASS's positions; None for cuSPARSELt."""
    n_out: int
    n_in: int

    @classmethod
    def of(cls, weight: Tensor) -> TwoOfFour:
        """The matrix `weight` (out, in), 2:4 sparse. On a CPU it is CUTLASS's layout, which torch makes there too."""
        n_out, n_in = weight.shape
        if weight.device.type == "cpu":
            check_shape(weight)
            packed, meta = sparse_semi_structured_from_dense_cutlass(weight.contiguous())  # type: ignore[no-untyped-call]
            found = cls(packed=packed, meta=meta, n_out=n_out, n_in=n_in)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch says once that the type is a prototype
                _ = found.typed
            return found
        made = compressed(weight)
        return cls(packed=made.packed, meta=made.meta, n_out=n_out, n_in=n_in)  # type: ignore[attr-defined]

    @property
    def typed(self) -> Tensor:
        """The matrix in torch's type, without a copy."""
        kind = SparseSemiStructuredTensorCUSPARSELT if self.meta is None else SparseSemiStructuredTensorCUTLASS
        return kind(torch.Size((self.n_out, self.n_in)), self.packed, self.meta, None, None, None)

    def dense(self) -> Tensor:
        """The matrix (out, in). cuSPARSELt has no way back: there it is the product with the unit matrix."""
        return self.typed.to_dense()


def matmul(x: Tensor, weight: TwoOfFour, bias: Tensor | None) -> Tensor:
    """x W^T + bias by torch's product, which fills rows of x up to eight. Shapes: x (rows, in) -> (rows, out)."""
    return torch.nn.functional.linear(x, weight.typed, bias)


def check_shape(weight: Tensor) -> None:
    """`UserError` unless torch's 2:4 type takes the matrix and every four neighbours have two zeros."""
    needed = MULTIPLES.get(weight.dtype)
    if needed is None:
        raise UserError(f"2:4 products take no {weight.dtype}", hint="use float16 or bfloat16")
    if weight.ndim != 2 or weight.shape[0] % needed[0] or weight.shape[1] % needed[1]:
        raise UserError(
            f"2:4 products take no matrix of {tuple(weight.shape)}",
            hint=f"rows must be a multiple of {needed[0]} and columns of {needed[1]}; run it dense",
        )
    kept = weight.reshape(-1, 4).count_nonzero(dim=1)
    if int(kept.max()) > 2:
        raise UserError("the matrix is not 2:4 sparse: four neighbours have more than two weights", hint="prune 2:4")


def compressed(weight: Tensor) -> Tensor:
    """The matrix in torch's 2:4 type, 0.5625 of its float16 bytes. It needs a CUDA device."""
    check_shape(weight)
    if weight.device.type != "cuda":
        raise UserError("2:4 products need a CUDA device", hint="run the matrix dense here")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says once that the type is a prototype
        made: Tensor = torch.sparse.to_sparse_semi_structured(weight.contiguous())
    return made


def faster(dense: Product, sparse: Product, x: Tensor, *, clock: Callable[[], float] | None = None) -> bool:
    """Whether `sparse` took less time than `dense` on x, by the median of seven runs in turn, after one of each.

    Never for fewer than LEAST_ROWS rows of x, where it isn't tried.
    """
    if len(x) < LEAST_ROWS:
        return False
    now = clock or _settled_clock(x.device)
    times: dict[Product, list[float]] = {dense: [], sparse: []}
    for turn in range(REPEATS + 1):
        for product, taken in times.items():
            start = now()
            product(x)
            if turn:
                taken.append(now() - start)
    return sorted(times[sparse])[REPEATS // 2] < sorted(times[dense])[REPEATS // 2]


def _settled_clock(device: torch.device) -> Callable[[], float]:
    """The time when all work so far is done."""

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    return now
