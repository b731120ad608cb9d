"""How a launch of the quantised product is cut up: by a rule, or by what was timed on that very device."""

from __future__ import annotations

from dataclasses import dataclass

NARROW_ROWS = 16
"""Up to so many rows of x the sums are scaled, above them the weights."""
DEVICE_SMS = 132
"""Streaming multiprocessors assumed where the device can't be asked: an H200's."""
ROWS = (128, 64)
COLUMNS = (8, 16, 32, 64)
SPLITS = (1, 2, 4, 8, 16)
STAGES = (2, 3, 4, 5)


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a launch is cut up."""

    rows: int
    """Output rows (of W) in a tile: 64 or 128."""
    columns: int
    """Rows of x in a tile: 8 or 16 narrow, 32 or 64 wide."""
    split: int
    """Programs that share the inputs of one tile."""
    stages: int = 3
    """Loads in flight."""


def columns_for(n_rows: int) -> int:
    """The rows of x in a tile, for so many rows in all."""
    return next((columns for columns in COLUMNS if n_rows <= columns), COLUMNS[-1])


def tiles_for(n_padded: int, n_steps: int, n_rows: int, n_sms: int = DEVICE_SMS) -> Tiles:
    """Tiles that give every multiprocessor about four programs, each at least two steps of work.

    The rule is an estimate: `bench/gpu.py` times the alternatives and writes the best (`llmc.kernels.tuned_tiles`).
    """
    columns = columns_for(n_rows)
    narrow = n_rows <= NARROW_ROWS
    wanted, n_column_tiles = (4 * n_sms, 1) if narrow else (n_sms, -(-n_rows // columns))
    most = max(1, n_steps // 2)
    for rows in ROWS:
        n_tiles = n_padded // rows * n_column_tiles
        fits = [s for s in SPLITS if s <= most]
        split = next((s for s in fits if n_tiles * s >= wanted), fits[-1])
        if rows == 64 or n_tiles * split >= wanted * 3 // 4 or not narrow:
            break
    return Tiles(rows=rows, columns=columns, split=split)


def candidates(n_steps: int, n_rows: int) -> list[Tiles]:
    """The tiles worth timing: both heights, splits that leave each program a step or more, three or four loads."""
    columns = columns_for(n_rows)
    splits = [split for split in (1, 4, 8, 16) if split <= max(1, n_steps)]
    return [
        Tiles(rows=rows, columns=columns, split=split, stages=stages)
        for rows in ROWS
        for split in splits
        for stages in (3, 4)
    ]
