"""Prune by weight times input norm, each output row within itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from llmc.compress.method import Compressed, Kind, LayerStats, Needs
from llmc.compress.shared.pruning import DEFAULT_SPARSITY, check_sparsity, kept, pattern_of, pruned
from llmc.compress.walk.inputs import as_float, sum_of_squares


@dataclass(frozen=True, kw_only=True)
class Wanda:
    """Zero, in every output row, the weights of least magnitude times the norm of their input.

    The score is |W_ij| * ||x_j||. Rows are compared within themselves, never with each other, and the kept weights are
    not updated.

    Source: Sun et al. 2023, arXiv:2306.11695, eq. 1. Deviation: among inputs that calibration never lit, which
    the equation makes equal, the smallest weight goes first.
    """

    name: ClassVar[str] = "wanda"
    kind: ClassVar[Kind] = "pruning"
    source: ClassVar[str] = "Sun et al. 2023, arXiv:2306.11695"
    needs: ClassVar[Needs] = Needs.SQ_NORM

    sparsity: float = DEFAULT_SPARSITY
    """Fraction of each row set to zero, in [0, 1)."""

    pattern: str | None = None
    """N:M keeps N of every M consecutive inputs ("2:4") and takes the place of sparsity."""

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity, self.pattern)

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The weight without each row's lowest scores; equal ones go in order of their index."""
        norm = sum_of_squares(weight, stats).to(weight.device).sqrt()
        lit = norm > 0
        warnings: tuple[str, ...] = ()
        if not bool(lit.any()):
            warnings = ("No calibration input of this layer was other than zero: it was pruned by magnitude.",)
            norm = torch.ones_like(norm)
        elif not bool(lit.all()):
            # Far below every lit input, yet not 0, so that |W| still orders the weights of unlit ones.
            norm = torch.where(lit, norm, 1e-3 * norm[lit].min())
        pattern = pattern_of(self.pattern)
        score = as_float(weight, keep).abs_().mul_(norm)
        return pruned(weight, kept(score, self.sparsity, pattern, keep), pattern, warnings=warnings)


METHOD = Wanda
