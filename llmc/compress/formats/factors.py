"""Low-rank layers as two thin matrices, which `llmc.load` reads; nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from llmc.compress.format import Stored, Value
from llmc.compress.method import Compressed, Factors
from llmc.errors import UserError
from llmc.reading.quantization import RANKS


@dataclass(frozen=True, kw_only=True)
class FactorPairs:
    """ "<layer>.left" (out, rank) and "<layer>.right" (rank, in); a layer whose rank saves nothing stays a weight.

    The quantization_config names no quant_method on purpose: plain transformers then refuses the file, where for a
    method it doesn't know it would go on with random weights.
    """

    name: ClassVar[str] = "factors"
    loads_with: ClassVar[str] = "llmc.load"

    def refuse(self, layer: str, stored: Stored) -> None:
        if stored.bits is not None:
            raise UserError(
                f"the format {self.name!r} holds low-rank layers and {layer} is quantised",
                hint="use --format compressed-tensors",
            )
        if stored.module != "linear":
            raise UserError(
                f"{layer} is no nn.Linear, and factors are loaded only in the place of those",
                hint="use --format dense, which stores the product",
            )

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        pair, dtype = compressed.factors, compressed.weight.dtype
        if pair is None:
            return {f"{layer}.weight": compressed.weight.contiguous()}
        return {
            f"{layer}.left": pair.left.to(dtype).contiguous(),
            f"{layer}.right": pair.right.to(dtype).contiguous(),
        }

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Value:
        if layer not in (config or {}).get(RANKS, {}):
            return tensors[f"{layer}.weight"]
        return Factors(left=tensors[f"{layer}.left"], right=tensors[f"{layer}.right"])

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any] | None:
        """The rank of every layer that was factored; None when none was: then the file is a plain one."""
        ranks = {layer: s.rank for layer, s in stored.items() if s.rank is not None}
        return {RANKS: ranks} if ranks else None

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        if all(s.rank is None for s in stored.values()):
            return ("No layer was stored as factors: every rank would have taken more bytes than the matrix.",)
        return ("Only llmc.load reads these factors; for transformers and vLLM use --format dense, at full size.",)


FORMAT = FactorPairs()
