"""Plain weights, as the model had them: what everything pruned, merged or turned is stored as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from llmc.compress.format import Stored
from llmc.compress.method import Compressed


@dataclass(frozen=True, kw_only=True)
class Dense:
    """One weight a layer, in the model's own dtype: loads everywhere, and saves no byte for zeros or few levels."""

    name: ClassVar[str] = "dense"
    loads_with: ClassVar[str] = "everything that loads the original"

    def refuse(self, layer: str, stored: Stored) -> None:
        """Nothing is refused: a compressed layer always has a dense value."""

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        """{"<layer>.weight": (out, in)}; the writer turns it for a Conv1D, which keeps its weight as (in, out)."""
        return {f"{layer}.weight": compressed.weight.contiguous()}

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Tensor:
        return tensors[f"{layer}.weight"]

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> None:
        """None: a plain checkpoint. compressed-tensors' sparse formats load as random weights today, so never those."""

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        bits = {s.bits for s in stored.values() if s.bits is not None}
        if bits:
            return (
                f"The weights have {min(bits)}-bit levels but are stored dense, so the files are as large as before.",
            )
        return ()


FORMAT = Dense()
