"""A compressed checkpoint read as the dense one that it stands for: every packed layer is one weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmc.models.checkpoint import Checkpoint
from llmc.models.packed_files import PARTS, packed_files
from llmc.reading.quantization import RANKS
from llmc.reading.safetensors_header import TensorInfo

FACTORS = ("left", "right")


class Unpacked(Checkpoint):
    """The checkpoint in `directory`, whose config.json has (or will have) this `quantization`.

    `shapes` are those of the compressed layers, (out, in) each, by their names in the files.
    """

    def __init__(
        self, directory: str | Path, quantization: Mapping[str, Any] | None, shapes: Mapping[str, tuple[int, int]]
    ) -> None:
        super().__init__(directory)
        told = quantization or {}
        self._ranks: Mapping[str, int] = told.get(RANKS) or {}
        self._packed = packed_files(Checkpoint(directory), told) if "quant_method" in told else None
        layers = [*self._ranks, *(self._packed.reads if self._packed is not None else ())]
        for layer in layers:
            parts = [self.tensors.pop(f"{layer}.{part}", None) for part in (*PARTS, *FACTORS)]
            info = next(part for part in parts if part is not None)
            self.tensors[f"{layer}.weight"] = TensorInfo(info.shard, "F32", shapes[layer], 0)
        self._layers = {f"{layer}.weight" for layer in layers}
        self._plain = Checkpoint(directory)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """The tensors called `names`; packed layers in float32, which holds all that they stand for."""
        wanted = list(names)
        found = self._plain.read([name for name in wanted if name not in self._layers])
        return {name: found[name] if name in found else self._weight(name.removesuffix(".weight")) for name in wanted}

    def _weight(self, layer: str) -> Tensor:
        if layer in self._ranks:
            left, right = self._plain.read([f"{layer}.{part}" for part in FACTORS]).values()
            return left.float() @ right.float()
        assert self._packed is not None
        codes = self._packed.codes(layer)
        return codes.dequantised(codes.scale.dtype if codes.scale.is_floating_point() else torch.float32).float()
