"""Files that are whole or absent: written beside their place, put on the disk, and moved there in one step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place at `path` when the block ends without an error, and not before."""
    beside = path.with_name(path.name + ".tmp")
    try:
        with beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Puts `text` at `path` in UTF-8; lone surrogates, which a model can produce, become question marks."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "replace"))
