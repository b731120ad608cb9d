"""Replace each matrix by the product of two thin ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor

from llmc.compress.method import Compressed, Factors, Kind, LayerStats, Needs
from llmc.compress.walk.feedback import check_damping
from llmc.compress.walk.inputs import as_float, gram_matrix
from llmc.errors import UserError
from llmc.ops.bits import factor_bits
from llmc.ops.low_rank import Thin, nearest, nearest_output, rank_for, saves, square_root


@dataclass(frozen=True, kw_only=True)
class SVD:
    """Keep, of each matrix, the product of two thin ones that changes the layer's outputs least.

    Not activation-aware, it changes the matrix itself least: the truncated singular value decomposition.

    Source: Eckart & Young 1936; for the outputs Wang et al. 2024, arXiv:2403.07378, in the inversion-free form of
    arXiv:2507.07580.
    """

    name: ClassVar[str] = "svd"
    kind: ClassVar[Kind] = "low-rank"
    source: ClassVar[str] = "Wang et al. 2024, arXiv:2403.07378; arXiv:2507.07580"
    needs: ClassVar[Needs] = Needs.GRAM

    rank_ratio: float = 0.8
    """Fraction of a matrix's parameters that its two factors may have together, in (0, 1]."""

    rank: int | None = None
    """The rank itself, the same for every matrix, in place of rank_ratio."""

    activation_aware: bool = True
    """Change the outputs on the calibration text least, rather than the matrix."""

    damping: float = 0.01
    """Added to the Gram matrix's diagonal, as a fraction of its mean, for inputs that calibration never shows."""

    def __post_init__(self) -> None:
        if not 0 < self.rank_ratio <= 1:
            raise UserError(
                f"rank_ratio must be in (0, 1], got {self.rank_ratio}", hint="0.8 keeps 80 % of the parameters"
            )
        if self.rank is not None and self.rank < 1:
            raise UserError(f"rank must be at least 1, got {self.rank}", hint="or set rank_ratio instead")
        if self.rank is not None and self.rank_ratio != SVD.rank_ratio:
            raise UserError(f"rank {self.rank} and rank_ratio {self.rank_ratio} exclude each other", hint="give one")
        check_damping(self.damping)

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The product of the factors, and the factors; the weight itself, with a warning, if they'd save nothing."""
        if keep is not None:
            raise UserError(
                "a product of two thin matrices can't keep the zeros of an earlier stage",
                hint="put svd before the pruning stage, or leave one of them out",
            )
        out_width, in_width = weight.shape
        rank = rank_for(out_width, in_width, self.rank_ratio) if self.rank is None else self.rank
        value_bits = 8 * weight.element_size()
        if not saves(out_width, in_width, rank):
            said = f"Rank {rank} of a {out_width} x {in_width} matrix saves no parameter: it was left as it is."
            return Compressed(weight=weight.clone(), bits_per_weight=value_bits, warnings=(said,))
        aware = self.activation_aware
        warnings: tuple[str, ...] = ()
        if aware and not gram_matrix(weight, stats).diagonal().any():
            aware = False
            warnings = ("No calibration input of this layer was other than zero: the matrix itself was approximated.",)
        thin = self._thin(weight, stats, rank) if aware else nearest(as_float(weight), rank)
        factors = Factors(left=thin.left.to(weight.dtype), right=thin.right.to(weight.dtype))
        return Compressed(
            weight=(factors.left.float() @ factors.right.float()).to(weight.dtype),
            bits_per_weight=factor_bits(out_width, in_width, rank, value_bits),
            factors=factors,
            damping=self.damping if aware else None,
            warnings=warnings,
        )

    def _thin(self, weight: Tensor, stats: LayerStats, rank: int) -> Thin:
        """The factors that change the outputs least."""
        dense = as_float(weight)
        gram = gram_matrix(weight, stats).double()
        gram = gram / gram.diagonal().mean()
        gram.diagonal().add_(self.damping)
        if weight.shape[0] <= weight.shape[1]:
            return nearest_output(dense, gram, rank)
        key = f"root damping={self.damping!r}"
        if key not in stats.cache:
            stats.cache[key] = square_root(gram)
        return nearest_output(dense, gram, rank, cast(Tensor, stats.cache[key]))


METHOD = SVD
