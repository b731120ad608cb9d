"""Files that are whole or absent: written beside their place, put on the disk, and moved there in one step."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmc.errors import UserError


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
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Waits until the names in `folder` are on the disk: after a rename, what a power cut leaves is the new file."""
    with contextlib.suppress(OSError):  # some file systems know no such thing; the files themselves were waited for
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Puts `text` at `path` in UTF-8; lone surrogates, which a model can produce, become question marks."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8", "replace"))


def check_place(path: Path, n_bytes: int = 0) -> None:
    """Raises `UserError` unless `path` can be made and has `n_bytes` free; makes nothing."""
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise UserError(f"{path} can't be made: {place} is no directory", hint="give another --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{path} can't be made: {place} can't be written to", hint="give another --out")
    free = shutil.disk_usage(place).free
    if free < n_bytes:
        raise UserError(
            f"{path} has {amount(free)} free and about {amount(n_bytes)} are needed",
            hint="free some space or choose another --out",
        )


def amount(n_bytes: int) -> str:
    """A number of bytes in a sentence."""
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
