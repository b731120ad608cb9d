"""AWQ files in GEMM order: 4 bits, eight outputs a word, zero points as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from llmc.compress.format import (
    Stored,
    float32_scales,
    grid_of,
    one_grid,
    quantised,
    refuse_bits,
    refuse_module,
    refuse_ragged,
    refuse_unquantised,
    ungrouped,
)
from llmc.compress.method import Compressed, Quantised
from llmc.errors import UserError
from llmc.models.packed_files import read_awq
from llmc.ops.packing import pack_awq

GROUP_SIZES = (-1, 32, 64, 128)
"""The group sizes that gptqmodel computes with on every machine."""


@dataclass(frozen=True, kw_only=True)
class Awq:
    """Codes packed along the outputs in the interleaved order 0 2 4 6 1 3 5 7.

    Shapes: qweight (in, out / 8) int32; qzeros (groups, out / 8) int32 in the same order; scales (groups, out).
    A symmetric grid is written as an asymmetric one whose zero points are all 8.
    """

    name: ClassVar[str] = "awq"
    loads_with: ClassVar[str] = "transformers with gptqmodel, vLLM, SGLang"

    def refuse(self, layer: str, stored: Stored) -> None:
        refuse_unquantised(self.name, layer, stored)
        refuse_module(self.name, layer, stored)
        refuse_bits(self.name, layer, stored, (4,), otherwise="use --format compressed-tensors or gptq")
        if stored.group_size not in GROUP_SIZES:
            raise UserError(
                f"AWQ files are read with group sizes {', '.join(map(str, GROUP_SIZES))}, not {stored.group_size}",
                hint="change --group-size, or use --format compressed-tensors",
            )
        refuse_ragged(self.name, layer, stored, rows=8, columns=1)

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        grid = grid_of(layer, compressed)
        return {
            f"{layer}.qweight": pack_awq(grid.codes.T),
            f"{layer}.qzeros": pack_awq(grid.zero.T),
            f"{layer}.scales": grid.scale.T.to(compressed.weight.dtype).contiguous(),
        }

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Quantised:
        found = read_awq(layer, tensors)
        return quantised(found, int((config or {})["group_size"]), symmetric=found.symmetric)

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any]:
        bits, group_size, _ = one_grid(self.name, stored)
        return {
            "quant_method": "awq",
            "bits": bits,
            "group_size": group_size,
            "zero_point": True,
            "version": "gemm",
            "modules_to_not_convert": list(ignored),
        }

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        return (*float32_scales(stored), *ungrouped(stored, "AwqConfig(bits=4, backend='torch_awq')"))


FORMAT = Awq()
