"""GPTQ's file format in its two versions, which differ in one thing: v1 stores a zero point less one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
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
from llmc.models.packed_files import read_gptq
from llmc.ops.packing import pack
from llmc.version import __version__

BITS = (2, 3, 4, 8)
BLOCKS = ("transformer.h", "model.decoder.layers", "gpt_neox.layers", "model.layers")
"""Where optimum looks for a model's blocks unless the config names them."""
GROUP_SIZES = (-1, 32, 64, 128, 256)
"""The group sizes that gptqmodel computes with on every machine; at 16 and 512 its 4-bit CPU kernel raises."""


def refuse(name: str, layer: str, stored: Stored) -> None:
    """Raises `UserError` for a layer that no reader of GPTQ files can take from one."""
    refuse_unquantised(name, layer, stored)
    refuse_bits(name, layer, stored, BITS, otherwise="use --format dense")
    refuse_module(name, layer, stored)
    if stored.group_size not in GROUP_SIZES:
        raise UserError(
            f"GPTQ files are read with group sizes {', '.join(map(str, GROUP_SIZES))}, not {stored.group_size}",
            hint="change --group-size, or use --format compressed-tensors",
        )
    unit = 32 // stored.bits if stored.bits in (2, 4, 8) else 32
    refuse_ragged(name, layer, stored, rows=unit, columns=unit)


def tensors(layer: str, compressed: Compressed, *, less: int) -> dict[str, Tensor]:
    """The layer's tensors, the stored zero points `less` that much (1 in v1, 0 in v2).

    Shapes: qweight (in * bits / 32, out), packed along the inputs; qzeros (groups, out * bits / 32), packed along the
    outputs; scales (groups, out); g_idx (in,) int32, the group of each input.
    """
    grid = grid_of(layer, compressed)
    if less and not grid.zero.is_meta and bool((grid.zero < less).any()):
        raise ValueError(f"{layer} has a zero point of 0, which GPTQ v1 would carry into its neighbour when it is read")
    columns = grid.codes.shape[1]
    size = columns if grid.group_size == -1 else grid.group_size
    return {
        f"{layer}.qweight": pack(grid.codes, grid.bits).T.contiguous(),
        f"{layer}.qzeros": pack(grid.zero.T - less, grid.bits),
        f"{layer}.scales": grid.scale.T.to(compressed.weight.dtype).contiguous(),
        f"{layer}.g_idx": torch.arange(columns, dtype=torch.int32) // size,
    }


def read(layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any], *, less: int) -> Quantised:
    """The codes and grids of a GPTQ file whose groups lie in order (no act-order)."""
    found = read_gptq(layer, tensors, bits=int(config["bits"]), less=less)
    if found.group is not None:
        raise UserError(f"{layer} was quantised with act-order", hint="llmc.load computes with such files")
    return quantised(found, int(config["group_size"]), symmetric=bool(config["sym"]))


def config(name: str, stored: Mapping[str, Stored], ignored: Sequence[str]) -> dict[str, Any]:
    """The quantization_config; linear layers of a block that stay dense are named in both dialects there are."""
    bits, group_size, symmetric = one_grid(name, stored)
    found: dict[str, Any] = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group_size,
        "sym": symmetric,
        "desc_act": False,
        "lm_head": False,
        "checkpoint_format": name,
        "format": name,
        "pack_dtype": "int32",
        "meta": {"quantizer": [f"llmc:{__version__}"]},
    }
    block = re.match(r"(.+?)\.\d+\.", next(iter(stored)))
    if block is not None and block[1] not in BLOCKS:
        found["block_name_to_quantize"] = block[1]  # optimum
    left = [layer for layer in ignored if re.search(r"\.\d+\.", layer)]
    if left:
        found["modules_in_block_to_quantize"] = [list(stored)]  # optimum
        found["dynamic"] = {f"-:^{re.escape(layer)}$": {} for layer in left}  # gptqmodel, vLLM
    return found


def warnings(stored: Mapping[str, Stored]) -> list[str]:
    """What vLLM won't serve and gptqmodel computes wrongly, in whole sentences."""
    found = [*float32_scales(stored), *ungrouped(stored, "GPTQConfig(bits=4, backend='torch')")]
    few = sorted({s.bits for s in stored.values() if s.bits is not None} - {4, 8})
    if few:
        bits = " and ".join(str(b) for b in few)
        found.append(f"vLLM serves GPTQ files of 4 and 8 bits, not {bits}; transformers with gptqmodel reads them.")
    if any(s.symmetric is False for s in stored.values()):
        found.append("vLLM rejects asymmetric GPTQ files; transformers with gptqmodel reads them.")
    return found
