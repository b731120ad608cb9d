"""Checkpoints whose layers are codes: which layers, in which file format, and their codes read back.

Knows three file formats (compressed-tensors' pack-quantized, GPTQ v1 and v2, AWQ's GEMM order) and no model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.models.packed_shapes import check_awq, check_columns, check_compressed_tensors, check_gptq
from llmc.ops.codes import Codes
from llmc.ops.packing import unpack, unpack_awq

Read = Callable[[str, Mapping[str, Tensor]], Codes]
BITS = (2, 3, 4, 8)
PARTS = (
    "weight_packed", "weight_scale", "weight_shape", "weight_zero_point", "weight_g_idx",
    "qweight", "qzeros", "scales", "g_idx",
)  # fmt: skip
"""The names that a layer's tensors have, in one format or another."""


class NotOurs(Exception):
    """Why a checkpoint's quantisation is not one that is read here; its text is a clause without a full stop."""


@dataclass(frozen=True)
class PackedFiles:
    """The packed layers of one checkpoint."""

    checkpoint: Checkpoint
    reads: Mapping[str, Read]
    """How each layer, by its name in the files, is read from its tensors."""

    def codes(self, layer: str) -> Codes:
        """The codes of one layer, read now."""
        names = [f"{layer}.{part}" for part in PARTS if f"{layer}.{part}" in self.checkpoint.tensors]
        return self.reads[layer](layer, self.checkpoint.read(names))


def packed_files(checkpoint: Checkpoint, quantization: Mapping[str, Any]) -> PackedFiles:
    """The packed layers under this quantization_config; `NotOurs` says why they can't be read here."""
    method = str(quantization.get("quant_method"))
    find = {"compressed-tensors": _find_compressed_tensors, "gptq": _find_gptq, "awq": _find_awq}.get(method)
    if find is None:
        raise NotOurs(f"files of {method} are not read by llmc itself")
    return PackedFiles(checkpoint, find(checkpoint, quantization))


def _layers(checkpoint: Checkpoint, part: str) -> list[str]:
    return [name.removesuffix(f".{part}") for name in checkpoint.tensors if name.endswith(f".{part}")]


# ---- compressed-tensors ----------------------------------------------------------------------------------------


def _find_compressed_tensors(checkpoint: Checkpoint, quantization: Mapping[str, Any]) -> dict[str, Read]:
    groups = list((quantization.get("config_groups") or {}).values())
    formats = {group.get("format") or quantization.get("format") for group in groups}
    if formats != {"pack-quantized"}:
        raise NotOurs(f"compressed-tensors' format {' and '.join(sorted(map(str, formats)))} is not packed integers")
    if any(group.get("input_activations") or group.get("output_activations") for group in groups):
        raise NotOurs("its activations are quantised too")
    if quantization.get("kv_cache_scheme") or (quantization.get("sparsity_config") or {}).get("format") not in (
        None,
        "dense",
    ):
        raise NotOurs("it also quantises the cache or stores sparse weights")
    if quantization.get("transform_config"):
        raise NotOurs("it turns its activations (transform_config)")
    found: dict[str, Read] = {}
    for layer in _layers(checkpoint, "weight_packed"):
        scheme = compressed_tensors_scheme(layer, quantization)
        if scheme.get("type", "int") != "int" or scheme.get("dynamic"):
            raise NotOurs(f"{layer} has no static integer weights")
        if scheme.get("strategy") not in ("group", "channel", "tensor"):
            raise NotOurs(f"{layer} has a scale a {scheme.get('strategy')}")
        if scheme.get("num_bits") not in BITS:
            raise NotOurs(f"{layer} has codes of {scheme.get('num_bits')} bits")
        check_compressed_tensors(checkpoint, layer, scheme["num_bits"])
        found[layer] = partial(read_compressed_tensors, scheme=scheme)
    return found


def compressed_tensors_scheme(layer: str, quantization: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights' scheme of the first group that names this layer, or names linear layers at large."""
    groups: Iterable[Mapping[str, Any]] = quantization.get("config_groups", {}).values()
    for exact in (True, False):
        for group in groups:
            if any(_matches(target, layer) if exact else target == "Linear" for target in group["targets"]):
                weights: Mapping[str, Any] = group["weights"]
                return weights
    raise UserError(f"config.json has no compressed-tensors group for {layer}", hint="was it written for this model?")


def _matches(target: str, layer: str) -> bool:
    return re.match(target[3:], layer) is not None if target.startswith("re:") else target == layer


def read_compressed_tensors(layer: str, tensors: Mapping[str, Tensor], *, scheme: Mapping[str, Any]) -> Codes:
    """The codes of a pack-quantized layer. Without zero points the grid is symmetric."""
    bits = int(scheme["num_bits"])
    rows, columns = (int(size) for size in tensors[f"{layer}.weight_shape"].tolist())
    scale = tensors[f"{layer}.weight_scale"]
    packed = tensors[f"{layer}.weight_packed"]
    check_columns(layer, (rows, columns), tuple(packed.shape), 1 if scale.numel() == 1 else scale.shape[1], bits)
    scale = scale.reshape(1, 1).expand(rows, 1) if scale.numel() == 1 else scale
    if f"{layer}.weight_zero_point" in tensors:
        zero = unpack(tensors[f"{layer}.weight_zero_point"].T, bits, rows).T.contiguous()
    else:
        zero = torch.full_like(scale, 2 ** (bits - 1), dtype=torch.uint8)
    codes = unpack(packed, bits, columns)
    return Codes(
        codes=codes, scale=scale, zero=zero, bits=bits, group=_out_of_order(layer, tensors, "weight_g_idx", scale)
    )


# ---- GPTQ and AWQ ----------------------------------------------------------------------------------------------


def _find_gptq(checkpoint: Checkpoint, quantization: Mapping[str, Any]) -> dict[str, Read]:
    bits = quantization.get("bits")
    if bits not in BITS or quantization.get("pack_dtype", "int32") != "int32":
        raise NotOurs(f"GPTQ files of {bits} bits in {quantization.get('pack_dtype', 'int32')} words are not read here")
    stored_as = quantization.get("checkpoint_format") or quantization.get("format") or "gptq"
    if stored_as not in ("gptq", "gptq_v2"):
        raise NotOurs(f"GPTQ's format {stored_as} is not read here")
    if any(not pattern.startswith("-:") for pattern in quantization.get("dynamic") or {}):
        raise NotOurs("its layers are on unlike grids (dynamic)")
    read = partial(read_gptq, bits=bits, less=1 if stored_as == "gptq" else 0)
    layers = _layers(checkpoint, "qweight")
    for layer in layers:
        check_gptq(checkpoint, layer, bits)
    return dict.fromkeys(layers, read)


def read_gptq(layer: str, tensors: Mapping[str, Tensor], *, bits: int, less: int) -> Codes:
    """The codes of a GPTQ layer, whose zero points are stored `less` that much (1 in v1, 0 in v2)."""
    scale = tensors[f"{layer}.scales"].T.contiguous()
    qweight = tensors[f"{layer}.qweight"]
    columns = qweight.shape[0] * 32 // bits
    zero = unpack(tensors[f"{layer}.qzeros"], bits, scale.shape[0]) + less
    return Codes(
        codes=unpack(qweight.T, bits, columns),
        scale=scale,
        zero=(zero & (2**bits - 1)).T.contiguous(),
        bits=bits,
        group=_out_of_order(layer, tensors, "g_idx", scale),
    )


def _find_awq(checkpoint: Checkpoint, quantization: Mapping[str, Any]) -> dict[str, Read]:
    version, bits = str(quantization.get("version", "gemm")).lower(), quantization.get("bits", 4)
    if version != "gemm" or bits != 4:
        raise NotOurs(f"AWQ files of version {version} with {bits} bits are not read here")
    layers = _layers(checkpoint, "qweight")
    for layer in layers:
        check_awq(checkpoint, layer)
    return dict.fromkeys(layers, read_awq)


def read_awq(layer: str, tensors: Mapping[str, Tensor]) -> Codes:
    """The codes of an AWQ layer in GEMM order."""
    return Codes(
        codes=unpack_awq(tensors[f"{layer}.qweight"]).T.contiguous(),
        scale=tensors[f"{layer}.scales"].T.contiguous(),
        zero=unpack_awq(tensors[f"{layer}.qzeros"]).T.contiguous(),
        bits=4,
    )


def _out_of_order(layer: str, tensors: Mapping[str, Tensor], part: str, scale: Tensor) -> Tensor | None:
    """Each column's group where the file deals them out of order, else None."""
    g_idx = tensors.get(f"{layer}.{part}")
    if g_idx is None or int(g_idx.min()) < 0:  # compressed-tensors writes -1 for groups in order
        return None
    n_groups = scale.shape[1]
    if int(g_idx.max()) >= n_groups:
        raise UserError(f"{layer} has a column in group {int(g_idx.max())} of {n_groups}", hint="its files are damaged")
    in_order = torch.arange(len(g_idx)) // (len(g_idx) // n_groups)
    return None if torch.equal(g_idx.long(), in_order) else g_idx.long()
