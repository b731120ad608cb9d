"""A single file that a user names: made new, or in the place of one that llmc wrote there, and of nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from llmc.errors import UserError
from llmc.files import refuse_special
from llmc.folders.place import refuse_unreachable

_LARGEST = 1 << 28


def check_output_file(path: Path, ours: Callable[[bytes], bool], option: str) -> None:
    """Raises `UserError` where the file can't be written: at a folder, a link, a device, or what llmc did not write.

    `ours` tells from the bytes of a file that is there whether llmc wrote it as what is going to be written.
    """
    if str(path) in ("", "."):
        raise UserError(f"{option} is no file", hint="give a path")
    refuse_unreachable(path, option)
    refuse_special(path)
    if not os.path.lexists(path):
        return
    if path.stat().st_size > _LARGEST or not ours(_content(path)):
        raise UserError(
            f"{option}: {path} is there and is nothing that llmc wrote as {option}",
            hint="move it away or give another path",
        )


def append(path: Path, text: str) -> None:
    """Appends to a plain file, which may be new; a link is not followed."""
    refuse_special(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o666), "ab") as file:
        file.write(text.encode("utf-8", "replace"))


def _content(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(descriptor, "rb") as file:
        return file.read(_LARGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
