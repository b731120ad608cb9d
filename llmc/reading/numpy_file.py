"""A .npy file with one axis, as a list."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from llmc.errors import UserError, shortened
from llmc.reading.bounded import MB, read_bytes


def npy_list(path: Path, *, hint: str | None = None) -> list[Any]:
    """Its values; never by unpickling. Raises `UserError` for anything but a plain array with one axis."""
    import numpy as np

    content = read_bytes(path, at_most=100 * MB, hint=hint)
    try:
        found = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # numpy has many kinds for a header that is none
        raise UserError(f"{path} is no array that can be read: {shortened(str(error), 150)}", hint=hint) from None
    if not isinstance(found, np.ndarray) or found.ndim != 1:
        raise UserError(f"{path} holds no array with one axis", hint=hint)
    values: list[Any] = found.tolist()
    return values
