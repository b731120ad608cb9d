"""What a file format is: a pure map between one compressed layer and its named tensors, and what config.json says.

Knows no file, model or loop: the walk and its writer own those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from llmc.compress.method import Compressed, Factors, Quantised
from llmc.errors import UserError
from llmc.ops.codes import Codes

ModuleKind = Literal["linear", "conv1d", "expert", "custom", "embedding", "head"]
"""What holds the weight in transformers: an `nn.Linear`, GPT-2's `Conv1D`, a slice of a 3-D tensor of experts, or a
class of the model's own that reads its weight itself (`FalconLinear`); outside the blocks the token embedding, or an
untied head."""
TABLES = ("embedding", "head")
"""What stands outside the blocks and is quantised on a grid of its own."""

Value: TypeAlias = Tensor | Quantised | Factors
"""What can be read back from a file: a dense weight, codes on grids, or a pair of factors."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What config.json must say of one layer: small enough to keep for every layer of a model, or in a journal.

    None stands where a field doesn't apply: no grid, no factors.
    """

    shape: tuple[int, int]
    """(out, in)."""
    module: ModuleKind = "linear"
    bits: int | None = None
    group_size: int | None = None
    symmetric: bool | None = None
    rank: int | None = None
    dtype: str | None = None
    """The weight's dtype, as config.json names it: "bfloat16"."""

    @classmethod
    def of(cls, compressed: Compressed, module: ModuleKind = "linear") -> Stored:
        """What a format needs to know about `compressed` besides its tensors."""
        rows, columns = compressed.weight.shape
        grid, factors = compressed.quantised, compressed.factors
        return cls(
            shape=(rows, columns),
            module=module,
            bits=None if grid is None else grid.bits,
            group_size=None if grid is None else grid.group_size,
            symmetric=None if grid is None else grid.symmetric,
            rank=None if factors is None else factors.left.shape[1],
            dtype=str(compressed.weight.dtype).removeprefix("torch."),
        )


def without_unread_tables(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """`stored` without the tables that transformers can't read: it does where all is on one grid, by decoding all."""
    on_one_grid = len({(s.bits, s.group_size, s.symmetric) for s in stored.values()}) == 1
    return {name: s for name, s in stored.items() if on_one_grid or s.module not in TABLES}


def asked_of_stock(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """`stored` without the tables that transformers' loader can't be asked about with shapes alone.

    Besides those that it can't read: decoding one group a row, it doesn't know a row's length without its values.
    """
    read = without_unread_tables(stored)
    return {name: s for name, s in read.items() if s.module not in TABLES or s.group_size != -1}


@runtime_checkable
class Format(Protocol):
    """How compressed layers are stored. `layer` is a module's name in the checkpoint, without ".weight"."""

    name: ClassVar[str]
    loads_with: ClassVar[str]
    """The libraries that read such a checkpoint, for people."""

    def refuse(self, layer: str, stored: Stored) -> None:
        """Raises `UserError` when this format can't hold such a layer. Needs no tensor: it is asked before the work."""
        ...

    def tensors(self, layer: str, compressed: Compressed) -> dict[str, Tensor]:
        """The checkpoint's tensors that take the place of "<layer>.weight"; a bias stays as it is."""
        ...

    def read(self, layer: str, tensors: Mapping[str, Tensor], config: Mapping[str, Any] | None) -> Value:
        """What `tensors` (as `tensors()` names them) stand for under this quantization_config."""
        ...

    def config(self, stored: Mapping[str, Stored], *, ignored: Sequence[str] = ()) -> dict[str, Any] | None:
        """config.json's quantization_config; None: it gets none.

        `stored` has every layer that was written in this format, in the model's order; `ignored` names the model's
        other linear modules (lm_head, routers, skipped layers), which stand in the file as they were.
        """
        ...

    def warnings(self, stored: Mapping[str, Stored]) -> tuple[str, ...]:
        """Whole sentences on who can't load such a checkpoint, to be shown when it is written."""
        ...


def dequantised(quantised: Quantised, dtype: torch.dtype) -> Tensor:
    """The dense weight (out, in) of codes on grids: (codes - zero) * scale, one rounding to `dtype` at the end."""
    rows, columns = quantised.codes.shape
    grouped = quantised.codes.reshape(rows, quantised.scale.shape[1], -1).to(torch.float32)
    weight = (grouped - quantised.zero[:, :, None]) * quantised.scale.to(torch.float32)[:, :, None]
    return weight.reshape(rows, columns).to(dtype)


def quantised(codes: Codes, group_size: int, *, symmetric: bool) -> Quantised:
    """Codes as a file gave them, in the form that methods make them in."""
    return Quantised(
        codes=codes.codes,
        scale=codes.scale.to(torch.float32),
        zero=codes.zero,
        bits=codes.bits,
        group_size=group_size,
        symmetric=symmetric,
    )


def dense(value: Value, dtype: torch.dtype) -> Tensor:
    """The dense weight (out, in) that anything read from a file stands for."""
    if isinstance(value, Quantised):
        return dequantised(value, dtype)
    if isinstance(value, Factors):
        return (value.left.to(torch.float32) @ value.right.to(torch.float32)).to(dtype)
    return value.to(dtype)


def grid_of(layer: str, compressed: Compressed) -> Quantised:
    """The layer's codes and grids; a layer without them should never have reached a packed format."""
    if compressed.quantised is None:
        raise ValueError(f"{layer} has no codes to pack; `refuse` was not asked")
    return compressed.quantised


def refuse_unquantised(name: str, layer: str, stored: Stored) -> None:
    """Raises `UserError` unless the layer was quantised."""
    if stored.bits is None:
        raise UserError(
            f"the format {name!r} holds quantised layers and {layer} is not quantised",
            hint="use --format dense, or a method that quantises",
        )


def refuse_module(name: str, layer: str, stored: Stored) -> None:
    """Raises `UserError` for what transformers can't put a GPTQ or AWQ layer in the place of."""
    if stored.module in TABLES:
        raise UserError(
            f"the format {name!r} has no place for quantised embeddings and heads, such as {layer}",
            hint="leave --embeddings out, or use --format compressed-tensors",
        )
    if stored.module == "expert":
        raise UserError(
            f"{layer} is an expert, and transformers would load a {name!r} file with random experts",
            hint="use --format compressed-tensors",
        )
    if stored.module != "linear":
        raise UserError(
            f"{layer} is no nn.Linear, and transformers loads {name!r} layers only in the place of those",
            hint="use --format dense",
        )


def refuse_bits(name: str, layer: str, stored: Stored, allowed: Sequence[int], *, otherwise: str) -> None:
    """Raises `UserError` unless the layer's codes have one of the `allowed` numbers of bits."""
    if stored.bits not in allowed:
        choices = ", ".join(str(bits) for bits in allowed)
        raise UserError(f"the format {name!r} holds {choices} bits and {layer} has {stored.bits}", hint=otherwise)


def refuse_ragged(name: str, layer: str, stored: Stored, *, rows: int, columns: int) -> None:
    """Raises `UserError` unless `rows` divides the layer's outputs and `columns` its inputs."""
    for size, unit, side in ((stored.shape[0], rows, "outputs"), (stored.shape[1], columns, "inputs")):
        if size % unit:
            raise UserError(
                f"the format {name!r} packs {unit} {side} at a time and {layer} has {size}",
                hint="use --format compressed-tensors or dense",
            )


def float32_scales(stored: Mapping[str, Stored]) -> list[str]:
    """The sentence about scales of a float32 model, for formats whose readers keep scales in half precision."""
    if any(s.dtype == "float32" for s in stored.values()):
        return [
            "gptqmodel rounds the scales of a float32 model to float16 when it loads this file, so its weights differ "
            "by up to 0.05 % from the account given here; a bfloat16 or float16 model loads exactly."
        ]
    return []


def ungrouped(stored: Mapping[str, Stored], remedy: str) -> list[str]:
    """The sentence about 4-bit layers with one grid a row, which gptqmodel's CPU kernel doesn't compute rightly."""
    if any(s.bits == 4 and s.group_size == -1 for s in stored.values()):
        return [
            "On a CPU without AVX-512, gptqmodel 7.7 raises or computes wrongly for 4-bit layers without groups; load "
            f"the model there with quantization_config={remedy}, or use --group-size 128."
        ]
    return []


def one_grid(name: str, stored: Mapping[str, Stored]) -> tuple[int, int, bool]:
    """The (bits, group_size, symmetric) that all layers share; `UserError` when they don't, for formats with one."""
    grids = {(s.bits, s.group_size, s.symmetric) for s in stored.values()}
    if len(grids) != 1:
        raise UserError(
            f"the format {name!r} has one grid for all layers and these have {len(grids)}",
            hint="use --format compressed-tensors, which holds a grid a layer",
        )
    bits, group_size, symmetric = grids.pop()
    if bits is None or group_size is None or symmetric is None:
        raise ValueError("a layer without a grid in a packed checkpoint")
    return bits, group_size, symmetric
