"""What a job will do, worked out from shapes and settings alone, before any work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from llmc.catalog import catalog, pick
from llmc.compress.finish import final_config
from llmc.compress.format import Format, Stored, asked_of_stock
from llmc.compress.loadable import check_planned, check_source, packed_name
from llmc.compress.method import Method
from llmc.compress.tables import Table, check_experts, check_wanted, planned_tables
from llmc.data.calibration import Calibration
from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint, torch_dtype
from llmc.models.config import decoder_config, read_config
from llmc.models.experts import split_experts
from llmc.models.fits import check_depth, check_fits
from llmc.models.layout import Matrix, check_understood, find_blocks, matrices
from llmc.models.skeleton import Skeleton
from llmc.models.stock_load import Loading
from llmc.ops.grid import columns_per_group
from llmc.ops.masks import check_divides, parse_pattern


@dataclass(kw_only=True)
class Job:
    """What to compress, how, and where to."""

    model: Path
    out: Path
    stages: tuple[Method, ...]
    calibration: Calibration | None
    seed: int = 0
    format: str | None = None
    """None: compressed-tensors for what is quantised in linear layers, dense for all else."""
    dtype: torch.dtype | None = None
    embeddings: int | None = None
    """Bits of the token embedding and the head, 8 or 4; None leaves them as they are."""
    device: str = "cpu"
    resume: bool = False
    verify: bool = False
    """Of a finished directory that is resumed, compare checksums too, not sizes alone."""
    overwrite: bool = False
    max_shard_bytes: int = 5_000_000_000
    command: list[str] | None = None
    check: bool = True
    """Read the written files back at the end and compare every block with the one in memory."""
    warnings: list[str] = field(default_factory=list)
    hear: Callable[[int, Any], None] | None = None
    """Called with each block's number and what it gives back, compressed, for the first calibration batch."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a job will do, worked out from shapes alone."""

    format: Format
    matrices: dict[str, Stored]
    tables: tuple[Table, ...]
    """The embedding and head that are quantised too."""
    bytes_before: int
    compute_dtype: torch.dtype
    loading: Loading
    """What transformers' loader says of the source."""
    config: dict[str, Any]
    """What config.json will be, as far as shapes tell."""


def compute_dtype(stored: torch.dtype, device: str) -> torch.dtype:
    """The dtype to run blocks in: the stored one where the device is fast in it, else float32.

    A CPU without bfloat16 units multiplies bfloat16 several times slower than float32, and float16 slower still.
    """
    if stored == torch.float32 or device != "cpu":
        return stored
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return stored if stored == torch.bfloat16 and fast else torch.float32


def plan(job: Job) -> tuple[Skeleton, Plan]:
    """Checks the model, the settings and the format against each other before any work is done."""
    check_wanted(job.embeddings, job.stages)
    config, raw = decoder_config(job.model), read_config(job.model)
    check_fits(Checkpoint(job.model), config, raw)
    probe = Skeleton(job.model, torch.float32)
    dtypes = [torch_dtype(info.dtype) for info in probe.checkpoint.tensors.values()]
    floats = [d for d in dtypes if d is not None and d.is_floating_point]
    if not floats:
        raise UserError(f"{job.model} has no weights that are floating-point numbers", hint="give the dense checkpoint")
    main = max(set(floats), key=floats.count)
    wanted = compute_dtype(job.dtype or main, job.device)
    skeleton = probe if wanted == torch.float32 else Skeleton(job.model, wanted)
    before = check_source(job, skeleton)
    check_depth(skeleton.checkpoint, config, raw)
    prefix, blocks = find_blocks(skeleton.model)
    found: dict[str, Matrix] = {}
    for index, block in enumerate(blocks):
        where = f"{prefix}.{index}"
        with torch.device("meta"):
            split_experts(block, where)
        check_understood(block, where)
        found |= {f"{where}.{matrix.name}": matrix for matrix in matrices(block)}
    _check_groups(job.stages, {name: matrix.weight.shape[1] for name, matrix in found.items()})
    stored = {name: _expected(job.stages, name, matrix) for name, matrix in found.items()}
    if not stored:
        raise UserError(f"{job.model} has no matrices to compress in its blocks", hint="is this a transformer decoder?")
    fmt = _format(job, stored)
    for name, expected in stored.items():
        if expected.module == "linear" or (expected.module == "expert" and expected.bits is not None):
            fmt.refuse(name, expected)
    tables = planned_tables(skeleton, job.stages, job.embeddings, job.warnings)
    for table in tables:
        fmt.refuse(table.name, table.stored)
    if tables and fmt.name == "dense":
        job.warnings.append(
            f"The embeddings have {job.embeddings}-bit levels but are stored dense, which saves no byte."
        )
    _check_length(skeleton, job)
    names = {live: packed_name(skeleton, fmt, live, found[live]) for live in stored}
    packed = {name: stored[live] for live, name in names.items() if name is not None}
    if fmt.name != "dense":
        packed |= {table.name: table.stored for table in tables}
        check_experts(packed)
    asked = asked_of_stock(packed)
    check_planned(job, fmt, asked, skeleton, before, final_config(job, fmt, asked, skeleton))
    return Skeleton(job.model, wanted), Plan(
        format=fmt,
        matrices=stored,
        tables=tables,
        bytes_before=skeleton.checkpoint.n_bytes,
        compute_dtype=wanted,
        loading=before,
        config=final_config(job, fmt, packed, skeleton),
    )


def _expected(stages: Sequence[Method], name: str, matrix: Matrix) -> Stored:
    """What the stages' settings will make of a matrix; a `UserError` that names it when they don't fit its width."""
    shape = (matrix.weight.shape[0], matrix.weight.shape[1])
    _check_order(stages)
    stored = Stored(shape=shape, module=matrix.kind)
    for method in stages:
        bits, group_size = getattr(method, "bits", None), getattr(method, "group_size", -1)
        pattern = getattr(method, "pattern", None)
        with naming(name):
            if bits is not None:
                columns_per_group(shape[1], group_size)
            if pattern is not None:
                check_divides(shape[1], parse_pattern(pattern))
        if bits is None:
            stored = Stored(shape=shape, module=matrix.kind)  # what this stage leaves lies on no grid any more
        else:
            symmetric = getattr(method, "symmetric", True)
            stored = dataclasses.replace(stored, bits=bits, group_size=group_size, symmetric=symmetric)
    return stored


def _check_groups(stages: Sequence[Method], widths: Mapping[str, int]) -> None:
    """A `UserError` where a stage's groups don't fill every row, with the largest usual size that fills all."""
    for method in stages:
        size = getattr(method, "group_size", -1)
        ragged = [name for name, width in widths.items() if size != -1 and width % size]
        if getattr(method, "bits", None) is None or not ragged:
            continue
        usual = [2**k for k in range(3, 12) if 2**k < size and not any(width % 2**k for width in widths.values())]
        fits = f"--group-size {usual[-1]} is the largest usual one that fits all, or " if usual else ""
        raise UserError(
            f"groups of {size} don't fill the rows of {len(ragged)} of {len(widths)} matrices: "
            f"{ragged[0]} has {widths[ragged[0]]} input columns",
            hint=f"{fits}use --group-size -1 for one group a row",
        )


def _check_order(stages: Sequence[Method]) -> None:
    """A `UserError` for a low-rank stage after a pruning one: a product of thin matrices keeps no zeros."""
    pruned = None
    for method in stages:
        if method.kind == "low-rank" and pruned is not None:
            raise UserError(
                f"{method.name} can't keep the zeros that {pruned} leaves",
                hint=f"put {method.name} before {pruned}, or leave one of them out",
            )
        pruned = method.name if method.kind == "pruning" else pruned


@contextmanager
def naming(matrix: str) -> Iterator[None]:
    """Puts the name of the matrix before what a method says about it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{matrix}: {error.problem}", hint=error.hint) from error


def _format(job: Job, stored: dict[str, Stored]) -> Format:
    formats = catalog("llmc.compress.formats", "FORMAT")
    quantised = any(s.bits is not None for s in stored.values())
    linear = [s for s in stored.values() if s.module == "linear"]
    if job.format is not None:
        found: Format = pick(formats, job.format, "format")
        if found.name != "dense" and not linear:
            raise UserError(
                f"{job.model} has no nn.Linear to store as {found.name}: its matrices are "
                f"{'/'.join(sorted({s.module for s in stored.values()}))}",
                hint="use --format dense",
            )
        return found
    if not quantised and (rounding := next((m for m in job.stages if getattr(m, "bits", None) is not None), None)):
        last = job.stages[-1].name
        raise UserError(
            f"{last} after {rounding.name} leaves weights that no packed format holds",
            hint=f"put {last} before {rounding.name}, or keep the order with --format dense, which saves no byte",
        )
    chosen: Format = formats["compressed-tensors" if quantised and linear else "dense"]
    if quantised and not linear:
        job.warnings.append(
            "This model has no nn.Linear that a packed format could hold, so the quantised weights are stored dense: "
            "the quality is that of the quantised model, the size is not."
        )
    return chosen


def _check_length(skeleton: Skeleton, job: Job) -> None:
    limit = getattr(skeleton.config.get_text_config(), "max_position_embeddings", None)
    if job.calibration is not None and limit is not None and job.calibration.tokens.shape[1] > limit:
        raise UserError(
            f"--seq-len {job.calibration.tokens.shape[1]} is longer than the {limit} positions of {job.model}",
            hint=f"use --seq-len {limit} or less",
        )
    vocabulary = skeleton.config.get_text_config().vocab_size
    if job.calibration is not None and int(job.calibration.tokens.max()) >= vocabulary:
        raise UserError(
            f"the tokenizer gives the id {int(job.calibration.tokens.max())} and the model knows {vocabulary}",
            hint="check that tokenizer and weights belong together",
        )
