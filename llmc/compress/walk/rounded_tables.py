"""The tables of a job, rounded: put into the model that calibration runs through, written, and told of."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from llmc.compress.format import Format, Stored
from llmc.compress.manifest import MatrixRecord
from llmc.compress.method import Compressed
from llmc.compress.tables import Table, relative_error, rounded, source_weight
from llmc.compress.verify import fingerprint
from llmc.models.skeleton import Skeleton


@dataclass
class Outside:
    """What was quantised outside the blocks: its tensors, and what the journal keeps of them."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    records: list[MatrixRecord] = field(default_factory=list)
    stored: dict[str, Any] = field(default_factory=dict)
    prints: dict[str, list[int]] = field(default_factory=dict)
    """By tensors of the source; empty for those that only repeat a table."""


class RoundedTables:
    """The planned `tables` of one job. `dtype` overrides the stored dtype, None keeps it.

    A rounded table is kept from its first use until `drop`.
    """

    def __init__(self, skeleton: Skeleton, tables: Sequence[Table], dtype: torch.dtype | None) -> None:
        self._skeleton, self._tables, self._dtype = skeleton, tables, dtype
        self._made: dict[str, Compressed] = {}

    def drop(self) -> None:
        """Forgets the rounded tables, which can be made again."""
        self._made = {}

    def _rounded(self, table: Table) -> Compressed:
        if table.live not in self._made:
            self._made[table.live] = rounded(source_weight(self._skeleton, table, self._dtype), table)
        return self._made[table.live]

    def put_embedding(self) -> None:
        """Puts the rounded embedding into the model, whose embeddings must be filled."""
        for table in self._tables:
            if table.stored.module == "embedding":
                weight = self._rounded(table).weight
                module = self._skeleton.model.get_submodule(table.live)
                parameter = module._parameters["weight"]
                assert parameter is not None
                parameter.data = weight.to(parameter.dtype)

    def written(self, fmt: Format, batches: Sequence[Tensor]) -> Outside:
        """All tables as `fmt` stores them; `batches` are the calibration's token ids, whose rows the error counts."""
        outside = Outside()
        for table in self._tables:
            start = time.perf_counter()
            made = self._rounded(table)
            record = self._record(table, made, fmt, batches)
            outside.prints |= {f"{table.name}.weight": fingerprint(made.weight, self._skeleton.model.dtype)}
            outside.prints |= {name: [] for name in table.copies}
            outside.tensors |= fmt.tensors(table.name, made)
            if fmt.name != "dense":
                known = Stored.of(made, table.stored.module)
                fmt.refuse(table.name, known)
                outside.stored[table.name] = asdict(known)
            outside.records.append(record.model_copy(update={"seconds": round(time.perf_counter() - start, 4)}))
        return outside

    def _record(self, table: Table, made: Compressed, fmt: Format, batches: Sequence[Tensor]) -> MatrixRecord:
        dense, grid = source_weight(self._skeleton, table, self._dtype), made.quantised
        assert grid is not None
        n_rows = len(dense)
        looked_up = table.stored.module == "embedding" and len(batches) > 0
        counts = torch.bincount(torch.cat([b.reshape(-1) for b in batches]), minlength=n_rows) if looked_up else None
        return MatrixRecord(
            name=table.live,
            block=None,
            kind=table.live,
            shape=table.stored.shape,
            sparsity=1 - int(made.weight.count_nonzero()) / made.weight.numel(),
            sparsity_before=1 - int(dense.count_nonzero()) / dense.numel(),
            bits_per_weight=made.bits_per_weight,
            relative_output_error=None if counts is None else relative_error(dense, made.weight, counts),
            error_over_tokens=0 if counts is None else int(counts.sum()),
            n_tokens=0 if counts is None else int(counts.sum()),
            damping=None,
            rank=None,
            stored_as=fmt.name,
            seconds=0.0,
            warnings=[],
            bits=grid.bits,
            group_size=grid.group_size,
            relative_weight_error=relative_error(dense, made.weight),
        )
