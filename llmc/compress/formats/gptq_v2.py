"""GPTQ files, version 2: zero points as they are, so that asymmetric grids are exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from llmc.compress.format import Stored
from llmc.compress.method import Compressed, Quantised
from llmc.compress.shared import gptq_layout


@dataclass(frozen=True, kw_only=True)
class GptqV2:
    """Codes packed along the inputs, zero points stored as they are."""

    name: ClassVar[str] = "gptq_v2"
    loads_with: ClassVar[str] = "transformers with optimum and gptqmodel, vLLM"

    def refuse(self, layer: str, stored: Stored) -> None:
        gptq_layout.refuse(self.name, layer, stored)

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        return gptq_layout.tensors(layer, compressed, less=0)

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Quantised:
        return gptq_layout.read(layer, tensors, config or {}, less=0)

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any]:
        return gptq_layout.config(self.name, stored, ignored)

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        return tuple(gptq_layout.warnings(stored))


FORMAT = GptqV2()
