"""Whether the tensors of a packed layer go together, asked of the headers: its parts, their dtypes and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.ops.packing import n_words
from llmc.reading.safetensors_header import TensorInfo

WORDS = ("I32",)
WHOLE = ("I32", "I64")
FLOATS = ("F16", "BF16", "F32", "F64")
HINT = "its files are damaged, or its quantization_config belongs to other files"


class Parts:
    """The parts of one layer, each asked for by name with the dtypes that it may have."""

    def __init__(self, checkpoint: Checkpoint, layer: str) -> None:
        self._tensors, self.layer = checkpoint.tensors, layer

    def get(self, part: str, dtypes: tuple[str, ...], n_axes: int) -> tuple[int, ...] | None:
        """The shape of a part; None where the layer has none. Raises `UserError` for another dtype or form."""
        info: TensorInfo | None = self._tensors.get(f"{self.layer}.{part}")
        if info is None:
            return None
        if info.dtype not in dtypes or len(info.shape) != n_axes or 0 in info.shape:
            raise self.wrong(f"its {part} is {info.dtype} {list(info.shape)}")
        return info.shape

    def need(self, part: str, dtypes: tuple[str, ...], n_axes: int) -> tuple[int, ...]:
        """The same for a part that every layer has."""
        shape = self.get(part, dtypes, n_axes)
        if shape is None:
            raise self.wrong(f"it has no {part}")
        return shape

    def wrong(self, what: str) -> UserError:
        return UserError(f"{self.layer} can't be unpacked: {what}", hint=HINT)

    def check(self, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Raises `UserError` for the first size that is another than the others ask for."""
        for name, value in wanted.items():
            if found[name] is not None and found[name] != value:
                raise self.wrong(f"its {name} has the shape {list(found[name])}, and its others ask for {list(value)}")


def check_compressed_tensors(checkpoint: Checkpoint, layer: str, bits: int) -> None:
    """The parts of a pack-quantized layer, but for the number of columns, which stands in weight_shape."""
    parts = Parts(checkpoint, layer)
    rows, _ = parts.need("weight_packed", WORDS, 2)
    parts.check({"weight_shape": parts.need("weight_shape", WHOLE, 1)}, {"weight_shape": (2,)})
    info = checkpoint.tensors.get(f"{layer}.weight_scale")
    if info is not None and info.shape in ((), (1,), (1, 1)) and info.dtype in FLOATS:
        return  # one scale for all
    scale = parts.need("weight_scale", FLOATS, 2)
    zero = parts.get("weight_zero_point", WORDS, 2)
    parts.check(
        {"weight_scale": scale, "weight_zero_point": zero},
        {"weight_scale": (rows, scale[1]), "weight_zero_point": (n_words(rows, bits), scale[1])},
    )
    parts.get("weight_g_idx", WHOLE, 1)


def check_gptq(checkpoint: Checkpoint, layer: str, bits: int) -> None:
    """The parts of a GPTQ layer."""
    parts = Parts(checkpoint, layer)
    words, rows = parts.need("qweight", WORDS, 2)
    groups, _ = parts.need("scales", FLOATS, 2)
    zeros, order = parts.need("qzeros", WORDS, 2), parts.get("g_idx", WHOLE, 1)
    parts.check(
        {"scales": parts.need("scales", FLOATS, 2), "qzeros": zeros, "g_idx": order},
        {"scales": (groups, rows), "qzeros": (groups, n_words(rows, bits)), "g_idx": (words * 32 // bits,)},
    )
    if order is None and (words * 32 // bits) % groups:
        raise parts.wrong(f"{groups} groups don't divide its {words * 32 // bits} columns")


def check_awq(checkpoint: Checkpoint, layer: str) -> None:
    """The parts of an AWQ layer in GEMM order."""
    parts = Parts(checkpoint, layer)
    columns, words = parts.need("qweight", WORDS, 2)
    scales = parts.need("scales", FLOATS, 2)
    parts.check(
        {"scales": scales, "qzeros": parts.need("qzeros", WORDS, 2)},
        {"scales": (scales[0], words * 8), "qzeros": (scales[0], words)},
    )
    if columns % scales[0]:
        raise parts.wrong(f"{scales[0]} groups don't divide its {columns} columns")


def check_columns(layer: str, shape: tuple[int, int], packed: tuple[int, ...], groups: int, bits: int) -> None:
    """Raises `UserError` where weight_shape tells other sizes than the packed words and the scales have."""
    rows, columns = shape
    if rows != packed[0] or columns < 1 or n_words(columns, bits) != packed[1] or columns % groups:
        raise UserError(
            f"{layer} can't be unpacked: its weight_shape says {rows} x {columns}, and it has {list(packed)} words in "
            f"{groups} groups",
            hint=HINT,
        )
