"""The token embedding and the head on integer grids: which tensors they are, what is refused, and their codes.

Rounded to the nearest point, row by row: no calibration text says more of a table whose rows are looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from llmc.compress.format import Stored, without_unread_tables
from llmc.compress.method import Compressed, Method, Quantised
from llmc.compress.shared.quantising import quantised
from llmc.errors import UserError
from llmc.kernels.onednn_linear import is_plain_linear
from llmc.kernels.packed_table import looks_up_alone
from llmc.models.checkpoint import torch_dtype
from llmc.models.packed_tables import tied_places
from llmc.models.skeleton import Skeleton
from llmc.ops.codes import row_blocks
from llmc.ops.grid import fit_grid

BITS = (8, 4)
SIZES = tuple(2**k for k in range(11, 2, -1))
"""Group sizes to fall back on, largest first."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table that is to be quantised."""

    live: str
    """The module in the model: the embedding, or an untied head."""
    name: str
    """What it is called in the files, without ".weight"."""
    stored: Stored
    copies: tuple[str, ...] = ()
    """Tensors of the source that repeat it under the names of tied modules, and are left out."""
    tied: bool = False
    search: bool = False
    """Whether each group takes the narrower grid with the least rounding error."""


def check_wanted(bits: int | None, stages: Sequence[Method]) -> None:
    """`UserError` unless the bits are 8 or 4 and the last stage leaves weights on a grid."""
    if bits is None:
        return
    if bits not in BITS:
        raise UserError(f"embeddings must have 8 or 4 bits, got {bits}", hint="8 changes the model least")
    if stages and getattr(stages[-1], "bits", None) is None:
        raise UserError(
            f"{stages[-1].name} quantises nothing, and no format holds its result beside quantised embeddings",
            hint="leave --embeddings out, or end with a method that quantises, such as gptq",
        )


def planned_tables(
    skeleton: Skeleton, stages: Sequence[Method], bits: int | None, warnings: list[str]
) -> tuple[Table, ...]:
    """The tables that a job quantises: the token embedding, and the head unless it is tied to it.

    Other embeddings, and a head that is no plain linear layer, stay as they are; `warnings` then says so.
    """
    check_wanted(bits, stages)
    if bits is None:
        return ()
    model, last = skeleton.model, stages[-1]
    modules = dict(model.named_modules(remove_duplicate=False))
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or not looks_up_alone(embedding):
        raise UserError(
            f"the token embedding of {type(model).__name__} is a {type(embedding).__name__}, which does more than look "
            "rows up",
            hint="leave --embeddings out",
        )
    found = [_table(skeleton, next(n for n, m in modules.items() if m is embedding), bits, last, "embedding")]
    tied = {id(modules[place]) for place in tied_places(model, found[0].live)}
    if head is not None and id(head) not in tied:
        name = next(n for n, m in modules.items() if m is head)
        if is_plain_linear(head):
            found.append(_table(skeleton, name, bits, last, "head"))
        else:
            warnings.append(f"{name} is a {type(head).__name__} and no plain linear layer: it stays as it is.")
    left = [n for n, m in modules.items() if isinstance(m, nn.Embedding) and id(m) not in tied and m is not embedding]
    if left:
        n = sum(cast(nn.Embedding, modules[name]).weight.numel() for name in left)
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        warnings.append(f"{left[0]}{more} ({n:,} weights) is no token embedding and stays as it is.")
    return tuple(found)


def _table(skeleton: Skeleton, live: str, bits: int, last: Method, module: str) -> Table:
    weight = cast(Tensor, skeleton.model.get_submodule(live).weight)
    shape = (weight.shape[0], weight.shape[1])
    places = tied_places(skeleton.model, live)
    names = [name for place in places if (name := skeleton.source_name(f"{place}.weight")) is not None]
    if not names:
        raise UserError(
            f"{skeleton.checkpoint.directory} holds {live} in another form than the model has it",
            hint="leave --embeddings out",
        )
    stored = Stored(
        shape=shape,
        module="embedding" if module == "embedding" else "head",
        bits=bits,
        group_size=group_size_for(shape[1], getattr(last, "group_size", -1)),
        symmetric=getattr(last, "symmetric", True),
    )
    return Table(
        live=live, name=names[0].removesuffix(".weight"), stored=stored, copies=tuple(names[1:]),
        tied=len(places) > 1, search=bool(getattr(last, "mse", False)),
    )  # fmt: skip


def check_experts(packed: Mapping[str, Stored]) -> None:
    """`UserError` for packed experts beside tables on another grid: transformers reads the experts, and not the tables.

    `packed` is all that is to be packed.
    """
    expert = next((name for name, s in packed.items() if s.module == "expert"), None)
    if expert is not None and without_unread_tables(packed) != packed:
        raise UserError(
            f"{expert} is an expert, which transformers reads, and it can't read embeddings on another grid",
            hint="leave --embeddings out, or give layers and embeddings the same bits and a group size that fits both",
        )


def group_size_for(width: int, wanted: int) -> int:
    """The group size of the layers where it divides `width`, else the largest power of two below it that does.

    -1, one group a row, where that is asked for or no power of two from 8 divides.
    """
    if wanted == -1 or width % wanted == 0:
        return wanted
    return next((size for size in SIZES if size < wanted and width % size == 0), -1)


def source_weight(skeleton: Skeleton, table: Table, dtype: torch.dtype | None) -> Tensor:
    """The table's weight in the dtype that it is stored in; a `UserError` unless it is finite there."""
    name = f"{table.name}.weight"
    found = skeleton.checkpoint.read([name])[name]
    stored = torch_dtype(skeleton.checkpoint.tensors[name].dtype)
    if stored is None or not stored.is_floating_point:
        raise UserError(f"{name} is stored as {skeleton.checkpoint.tensors[name].dtype}", hint="leave --embeddings out")
    weight = found.to(dtype or stored)
    if not bool(torch.stack(weight.aminmax()).isfinite().all()):
        raise UserError(
            f"{name} holds NaN or infinity" + (f" in {dtype}" if dtype is not None else ""),
            hint="leave --embeddings out, or get the checkpoint again",
        )
    return weight


def rounded(weight: Tensor, table: Table) -> Compressed:
    """The table (rows, width) on its grids, rounded to nearest, some rows at a time."""
    stored = table.stored
    assert stored.bits is not None and stored.group_size is not None and stored.symmetric is not None
    parts = []
    for rows in row_blocks(*weight.shape):
        grid = fit_grid(
            weight[rows], bits=stored.bits, group_size=stored.group_size, symmetric=stored.symmetric,
            dtype=weight.dtype, search=table.search,
        )  # fmt: skip
        parts.append(
            quantised(weight[rows], grid.offsets(weight[rows].float()), grid, None, group_size=stored.group_size)
        )
    grids = [cast(Quantised, part.quantised) for part in parts]
    return Compressed(
        weight=torch.cat([part.weight for part in parts]),
        bits_per_weight=parts[0].bits_per_weight,
        quantised=Quantised(
            codes=torch.cat([grid.codes for grid in grids]),
            scale=torch.cat([grid.scale for grid in grids]),
            zero=torch.cat([grid.zero for grid in grids]),
            bits=stored.bits,
            group_size=stored.group_size,
            symmetric=stored.symmetric,
        ),
    )


def relative_error(dense: Tensor, new: Tensor, counts: Tensor | None = None) -> float | None:
    """Sum of n_r ||w_r - v_r||^2 over sum of n_r ||w_r||^2, with n_r = `counts` (rows,), or 1; None where that is 0/0.

    With the counts of tokens it is the output error of a table that is looked up. Shapes: dense, new (rows, width).
    """
    moved = whole = 0.0
    for rows in row_blocks(*dense.shape):
        weight = dense[rows].double()
        times = 1.0 if counts is None else counts[rows].double()
        moved += float(((weight - new[rows].double()).square().sum(1) * times).sum())
        whole += float((weight.square().sum(1) * times).sum())
    return moved / whole if whole > 0 else None
