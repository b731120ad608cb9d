"""GPTQ files, version 2: zero points as they are, so that asymmetric grids are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from llmc.compress._method import Compressed, Quantised
from llmc.compress.formats import _gptq
from llmc.compress.formats._format import Stored


@dataclass(frozen=True, kw_only=True)
class GptqV2:
    """Codes packed along the inputs, zero points stored as they are."""

    name: ClassVar[str] = "gptq_v2"
    loads_with: ClassVar[str] = "transformers with optimum and gptqmodel, vLLM"

    def refuse(self, layer: str, stored: Stored) -> None:
        _gptq.refuse(self.name, layer, stored)

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        return _gptq.tensors(layer, compressed, less=0)

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Quantised:
        return _gptq.read(layer, tensors, config or {}, less=0)

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any]:
        return _gptq.config(self.name, stored, ignored)

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        return tuple(_gptq.warnings(stored))


FORMAT = GptqV2()
