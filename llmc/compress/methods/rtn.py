"""Quantise by rounding each weight to the nearest point of its group's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from llmc.compress.method import Compressed, Kind, LayerStats, Needs
from llmc.compress.shared.quantising import check_grid, quantised
from llmc.compress.walk.inputs import as_float
from llmc.ops.grid import fit_grid


@dataclass(frozen=True, kw_only=True)
class RTN:
    """Round every weight to the nearest point of the integer grid that spans its group.

    Source: the baseline of Frantar et al. 2022, arXiv:2210.17323.
    """

    name: ClassVar[str] = "rtn"
    kind: ClassVar[Kind] = "quantisation"
    source: ClassVar[str] = "Frantar et al. 2022, arXiv:2210.17323 (its baseline)"
    needs: ClassVar[Needs] = Needs.NOTHING

    bits: int = 4
    """Bits of a code: 2, 3, 4 or 8."""

    group_size: int = 128
    """Input columns of a row that share a scale; -1 for the whole row. It must divide the width."""

    symmetric: bool = True
    """Mirror the grid about zero; False fits a zero point too, which fewer programs can load."""

    mse: bool = False
    """Search each group for the narrower grid with the least rounding error, instead of spanning all its weights."""

    def __post_init__(self) -> None:
        check_grid(self.bits, self.group_size)

    def compress(self, weight: Tensor, stats: LayerStats, keep: Tensor | None = None) -> Compressed:
        """The weight on its grids; a weight pruned earlier has the code of real 0."""
        dense = as_float(weight, keep)
        grid = fit_grid(
            dense,
            bits=self.bits,
            group_size=self.group_size,
            symmetric=self.symmetric,
            dtype=weight.dtype,
            search=self.mse,
        )
        return quantised(weight, grid.offsets(dense), grid, keep, group_size=self.group_size)


METHOD = RTN
