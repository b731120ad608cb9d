"""Prune the smallest weights of each matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from llmc.compress.method import Compressed, Kind, LayerStats, Needs
from llmc.compress.shared.pruning import DEFAULT_SPARSITY, check_sparsity, kept, pattern_of, pruned
from llmc.compress.walk.inputs import as_float


@dataclass(frozen=True, kw_only=True)
class Magnitude:
    """Zero the weights of least magnitude, compared over the whole matrix, or in each group of an N:M pattern.

    Source: Han et al. 2015, arXiv:1506.02626; as the baseline of arXiv:2306.11695.
    """

    name: ClassVar[str] = "magnitude"
    kind: ClassVar[Kind] = "pruning"
    source: ClassVar[str] = "Han et al. 2015, arXiv:1506.02626"
    needs: ClassVar[Needs] = Needs.NOTHING

    sparsity: float = DEFAULT_SPARSITY
    """Fraction of the matrix set to zero, in [0, 1)."""

    pattern: str | None = None
    """N:M keeps N of every M consecutive inputs ("2:4") and takes the place of sparsity."""

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, self.pattern)

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The weight without its smallest entries; equal ones go in order of their index."""
        score = as_float(weight, keep).abs_()
        pattern = pattern_of(self.pattern)
        if pattern is not None:
            return pruned(weight, kept(score, self.sparsity, pattern, keep), pattern)
        flat_keep = None if keep is None else keep.reshape(1, -1)
        chosen = kept(score.view(1, -1), self.sparsity, None, flat_keep)
        return pruned(weight, chosen.view(weight.shape), None)


METHOD = Magnitude
