"""What a compression method is: settings, the statistics it needs, and one pure map of a layer.

Knows no model, device, file or loop: the walk owns those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from torch import Tensor

if TYPE_CHECKING:
    from llmc.compress.walk.block import BlockView

Kind = Literal["pruning", "quantisation", "low-rank"]


class Needs(IntEnum):
    """The calibration statistics of a layer's inputs that a method reads; each includes those before it."""

    NOTHING = 0
    SQ_NORM = 1
    GRAM = 2


@dataclass(kw_only=True)
class LayerStats:
    """Statistics of the inputs of one layer, shared by all layers that read the same input.

    Shapes: `sq_norm`, `abs_sum` (in,); `gram` (in, in); all float32 sums over `n_tokens` tokens.
    """

    n_tokens: int
    sq_norm: Tensor | None = None
    """Sum over tokens of x_j squared."""
    abs_sum: Tensor | None = None
    """Sum over tokens of |x_j|."""
    gram: Tensor | None = None
    """Sum over tokens of x x^T."""
    cache: dict[str, object] = field(default_factory=dict)
    """What a method derives from the statistics alone (a factor of `gram`), for the next layer with these inputs."""


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """Integer codes on affine grids: weight = (codes - zero) * scale, grid by grid.

    Shapes: codes (out, in) uint8; scale (out, groups) float32; zero (out, groups) uint8, where
    group k holds the input columns [k * group_size, (k + 1) * group_size), or all of them when group_size is -1.
    Range:  codes and zero in [0, 2**bits - 1]. A symmetric grid has zero = 2**(bits - 1) everywhere.
    """

    codes: Tensor
    scale: Tensor
    zero: Tensor
    bits: int
    group_size: int
    symmetric: bool


@dataclass(frozen=True, kw_only=True)
class Factors:
    """A product of two thin matrices that stands for a weight: left (out, rank) times right (rank, in)."""

    left: Tensor
    right: Tensor


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """One layer after compression.

    `weight` (out, in) is what the layer now computes with, in the weight's own dtype; where `quantised` or
    `factors` is given it is exactly their value, rounded to that dtype.
    """

    weight: Tensor
    bits_per_weight: float
    """Bits that the best plain storage of this result takes per weight; not what a dense file takes."""
    keep: Tensor | None = None
    """(out, in) bool: False where a weight was pruned and must stay zero in every later stage. None: nothing pruned."""
    quantised: Quantised | None = None
    factors: Factors | None = None
    damping: float | None = None
    """The damping that was really used, as a fraction of the mean diagonal of the Gram matrix. None: none used."""
    warnings: tuple[str, ...] = ()
    """Whole sentences about this layer that a person must read (damping escalated, a rank that saves nothing)."""


@runtime_checkable
class Balances(Protocol):
    """A method that first moves scales between the layers of a block; the walk collects `abs_sum` for it too."""

    def balance(self, block: BlockView) -> Sequence[object]:
        """Changes the block through its view; what was found, a line each."""
        ...


@runtime_checkable
class Method(Protocol):
    """A compression method: a frozen dataclass whose fields are its settings.

    Each field has a default and a one-line docstring beneath it, which is its help text. `__post_init__`
    raises `UserError` for a value out of range.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    source: ClassVar[str]
    needs: ClassVar[Needs]

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The compressed form of `weight` (out, in), which is left untouched.

        `keep` (out, in) bool marks the weights that an earlier stage left standing; the others stay exactly zero.
        Raises `UserError` when the settings don't fit this shape (a group size that doesn't divide the width).
        """
        ...
