"""Parquet files: the columns that are wanted, of the types that they must have, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from llmc.errors import UserError, shortened
from llmc.reading.bounded import GB, open_plain

Type = Literal["text", "any"]
AT_ONCE = GB // 4
"""Bytes of a batch's columns at most, if every row were as long as its whole column chunk."""
ROWS = 256


def parquet_rows(path: Path, columns: Mapping[str, Type]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row with its number from 1, as {column: value}, read as it is asked for.

    Raises `UserError` for a file of another kind, a column that is not there, or one that holds no texts and should.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        with open_plain(path) as plain:
            file = parquet.ParquetFile(plain, pre_buffer=False)
            _check_columns(path, file, columns)
            number = 0
            for batch in file.iter_batches(batch_size=_batch(file, columns), columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except UserError:
        raise
    except (ValueError, OSError, MemoryError, pyarrow.ArrowException) as error:
        raise UserError(
            f"{path} can't be read: {shortened(str(error) or type(error).__name__, 200)}", hint="give a Parquet file"
        ) from error


def _check_columns(path: Path, file: Any, columns: Mapping[str, Type]) -> None:
    from pyarrow import types

    names = file.schema_arrow.names
    for column, kind in columns.items():
        if names.count(column) != 1:
            said = "has no column" if column not in names else "has more than one column"
            raise UserError(f"{path} {said} {column!r}", hint=f"its columns: {', '.join(names)}")
        found = file.schema_arrow.field(column).type
        value = found.value_type if types.is_dictionary(found) else found
        if kind == "text" and not (types.is_string(value) or types.is_large_string(value) or types.is_null(value)):
            raise UserError(f"{path}: its column {column!r} holds {found} and no text", hint="give a column of texts")


def _batch(file: Any, columns: Mapping[str, Type]) -> int:
    """Rows at a time: a column chunk that says little and holds much (one long text for all rows) fills no memory."""
    largest = 1
    for group in range(file.metadata.num_row_groups):
        meta = file.metadata.row_group(group)
        for place in range(meta.num_columns):
            chunk = meta.column(place)
            if chunk.path_in_schema.split(".")[0] in columns:
                largest = max(largest, int(chunk.total_uncompressed_size))
    return max(1, min(ROWS, AT_ONCE // largest))
