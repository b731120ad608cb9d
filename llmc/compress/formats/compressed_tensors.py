"""compressed-tensors' pack-quantized files, which transformers and vLLM load as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from llmc.compress.format import (
    TABLES,
    Stored,
    grid_of,
    quantised,
    refuse_bits,
    refuse_unquantised,
    without_unread_tables,
)
from llmc.compress.method import Compressed, Quantised
from llmc.errors import UserError
from llmc.models.packed_files import compressed_tensors_scheme, read_compressed_tensors
from llmc.ops.packing import pack

BITS = (2, 3, 4, 8)


@dataclass(frozen=True, kw_only=True)
class CompressedTensors:
    """Codes packed along the inputs, scales in the model's dtype.

    Shapes: weight_packed (out, ceil(in * bits / 32)) int32; weight_scale (out, groups); weight_shape (2,) int64;
    for an asymmetric grid weight_zero_point (ceil(out * bits / 32), groups) int32, packed along the outputs.
    Their codes are signed, ours are not: both write the same words, since they add 2**(bits - 1) when they pack.
    """

    name: ClassVar[str] = "compressed-tensors"
    loads_with: ClassVar[str] = "transformers with compressed-tensors, vLLM, SGLang"

    def refuse(self, layer: str, stored: Stored) -> None:
        refuse_unquantised(self.name, layer, stored)
        refuse_bits(self.name, layer, stored, BITS, otherwise="use --format dense")
        if stored.module in ("conv1d", "custom"):
            raise UserError(
                f"{layer} is no nn.Linear, and compressed-tensors passes it over: it would load with random weights",
                hint="use --format dense",
            )
        if stored.module == "expert" and not stored.symmetric:
            raise UserError(
                f"{layer} is an expert, and transformers drops the zero points of experts when it loads the file",
                hint="quantise symmetrically, or use --format dense",
            )

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        grid = grid_of(layer, compressed)
        found = {
            "weight_packed": pack(grid.codes, grid.bits),
            "weight_scale": grid.scale.to(compressed.weight.dtype).contiguous(),
            "weight_shape": torch.tensor(grid.codes.shape, dtype=torch.int64),
        }
        if not grid.symmetric:
            found["weight_zero_point"] = pack(grid.zero.T, grid.bits).T.contiguous()
        return {f"{layer}.{name}": tensor for name, tensor in found.items()}

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Quantised:
        scheme = compressed_tensors_scheme(layer, config or {})
        found = read_compressed_tensors(layer, tensors, scheme=scheme)
        size = -1 if scheme["strategy"] == "channel" else int(scheme["group_size"])
        return quantised(found, size, symmetric=bool(scheme["symmetric"]))

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any]:
        """One group of layers a grid. A single grid is told by class and exceptions, as loaders expect it.

        Tables are groups of their own, told by name. transformers reads a packed embedding only where it decodes
        everything by the first group: that is asked of it where the tables' grid is that of all layers.
        """
        layers: dict[Grid, list[str]] = {}
        tables: dict[Grid, list[str]] = {}
        for layer, s in stored.items():
            into = tables if s.module in TABLES else layers
            into.setdefault((s.bits, s.group_size, s.symmetric), []).append(layer)
        _check_experts(stored, ignored)
        named = [(grid, ["Linear"] if len(layers) == 1 else _by_name(names)) for grid, names in layers.items()]
        named += [(grid, _by_name(names)) for grid, names in tables.items()]
        groups = {
            f"group_{k}": {
                "targets": targets,
                "weights": _weights(*grid),
                "input_activations": None,
                "output_activations": None,
                "format": "pack-quantized",
            }
            for k, (grid, targets) in enumerate(named)
        }
        return {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "config_groups": groups,
            "ignore": list(ignored),
            "kv_cache_scheme": None,
            "global_compression_ratio": None,
            "sparsity_config": {},
            "transform_config": {},
            **({"dequantize": True} if tables and without_unread_tables(stored) == stored else {}),
        }

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        found = []
        if any(s.module in TABLES for s in stored.values()):
            found.append(_who_reads_tables(stored))
        elif any(s.symmetric is False for s in stored.values()):
            found.append(
                "transformers 5.23 refuses asymmetric compressed-tensors files (zero points of another shape) unless "
                "asked with quantization_config=CompressedTensorsConfig(dequantize=True); vLLM reads them."
            )
        if any(s.bits == 3 for s in stored.values()):
            found.append(
                "3-bit compressed-tensors files are not portable: the packing changed from padded to dense in 2026, "
                "and only a compressed-tensors with the dense packing (0.20 has it) reads this one rightly."
            )
        few = sorted({s.bits for s in stored.values() if s.bits is not None} - {4, 8})
        if few:
            bits = " and ".join(str(b) for b in few)
            found.append(
                f"vLLM serves 4 and 8 bits, not {bits}-bit compressed-tensors weights; transformers computes with them."
            )
        return tuple(found)


Grid: TypeAlias = tuple[int | None, int | None, bool | None]


def _by_name(names: Sequence[str]) -> list[str]:
    return [f"re:{re.escape(name)}$" for name in names]


def _who_reads_tables(stored: Mapping[str, Stored]) -> str:
    if without_unread_tables(stored) == stored:
        joined = any(s.module == "expert" for s in stored.values())  # which llmc.load leaves to transformers
        packed = "" if joined else "llmc.load keeps this file packed; "
        return (
            f"Quantised embeddings: {packed}plain transformers decodes all of it to dense weights when it loads "
            '(config.json asks for that: "dequantize"). Other loaders were not tried.'
        )
    return (
        "Quantised embeddings on another grid than the layers: only llmc.load reads this file rightly. transformers "
        "5.23 raises AttributeError, and with dequantize=True it decodes everything on one grid, which is wrong. With "
        "the layers' bits and group size it would load there."
    )


def _check_experts(stored: Mapping[str, Stored], ignored: Sequence[str]) -> None:
    """Raises `UserError` for experts on unlike grids: transformers decodes all experts by one scheme."""
    grids = {(s.bits, s.group_size, s.symmetric) for s in stored.values() if s.module == "expert"}
    if len(grids) > 1:
        raise UserError(
            f"the experts have {len(grids)} grids, and transformers reads all experts with one",
            hint="give all experts the same bits and group size",
        )
    packed = {name.rpartition(".experts.")[0] for name, s in stored.items() if s.module == "expert"}
    left = [name for name in ignored if ".experts." in name and name.rpartition(".experts.")[0] in packed]
    if left:
        raise UserError(
            f"{left[0]} stays dense beside quantised layers, and transformers can't load experts stored one by one so",
            hint="quantise every expert, or store the dense experts as the model's 3-D tensors",
        )


def _weights(bits: int | None, group_size: int | None, symmetric: bool | None) -> dict[str, Any]:
    channel = group_size == -1
    return {
        "num_bits": bits,
        "type": "int",
        "symmetric": symmetric,
        "strategy": "channel" if channel else "group",
        "group_size": None if channel else group_size,
        "dynamic": False,
        "actorder": None,
        "observer": "minmax",
    }


FORMAT = CompressedTensors()
