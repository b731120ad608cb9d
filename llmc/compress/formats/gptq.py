"""GPTQ files, version 1: the most widely read packed format, for symmetric grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from llmc.compress.format import Stored
from llmc.compress.method import Compressed, Quantised
from llmc.compress.shared import gptq_layout
from llmc.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Gptq:
    """Codes packed along the inputs, zero points stored less one.

    A zero point of 0 can't be written: it is stored as all ones, and readers add 1 to the whole packed word, so that
    it carries into the next. Asymmetric grids can have one, so they are refused here and belong in gptq_v2.
    """

    name: ClassVar[str] = "gptq"
    loads_with: ClassVar[str] = "transformers with optimum and gptqmodel, vLLM, SGLang"

    def refuse(self, layer: str, stored: Stored) -> None:
        gptq_layout.refuse(self.name, layer, stored)
        if not stored.symmetric:
            raise UserError(
                f"{layer} has an asymmetric grid, and GPTQ v1 files can't hold a zero point of 0",
                hint="use --format gptq_v2, or quantise symmetrically",
            )

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        return gptq_layout.tensors(layer, compressed, less=1)

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Quantised:
        return gptq_layout.read(layer, tensors, config or {}, less=1)

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any]:
        return gptq_layout.config(self.name, stored, ignored)

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        return tuple(gptq_layout.warnings(stored))


FORMAT = Gptq()
