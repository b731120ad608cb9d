"""Plain files read within bounds: no pipe, device or folder, and none larger than its kind can be."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from llmc.errors import UserError, quoted

KB, MB, GB = 10**3, 10**6, 10**9


def open_plain(path: Path, *, at_most: int | None = None, hint: str | None = None) -> BinaryIO:
    """The file at `path`, opened to read. Raises `UserError` for anything else than a plain file of that size.

    It never waits: a pipe without a writer is refused, not opened.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: opening a device can do things
            raise _not_plain(path, hint)
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)), "rb")
    except FileNotFoundError:
        raise UserError(f"{path} is missing", hint=hint) from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {(error.strerror or str(error)).lower()}", hint=hint) from None
    except ValueError:  # a path with a null character
        raise UserError(f"{quoted(str(path))} is no path", hint=hint) from None
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise _not_plain(path, hint)
    if at_most is not None and found.st_size > at_most:
        file.close()
        raise _too_large(path, at_most, hint)
    return file


def read_bytes(path: Path, *, at_most: int, hint: str | None = None) -> bytes:
    """Everything in a plain file of at most `at_most` bytes; a larger one is refused before it is read."""
    with open_plain(path, at_most=at_most, hint=hint) as file:
        try:
            content = file.read(at_most + 1)
        except OSError as error:
            raise UserError(f"{path} can't be read: {(error.strerror or str(error)).lower()}", hint=hint) from None
    if len(content) > at_most:  # it grew, or the system doesn't tell its size
        raise _too_large(path, at_most, hint)
    return content


def read_text(path: Path, *, at_most: int, hint: str | None = None, mark: bool = False) -> str:
    """The UTF-8 text of a plain file of at most `at_most` bytes; `mark`: a byte order mark before it is left out."""
    try:
        return read_bytes(path, at_most=at_most, hint=hint).decode("utf-8-sig" if mark else "utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", hint=hint or "save it as UTF-8") from None


def _not_plain(path: Path, hint: str | None) -> UserError:
    return UserError(f"{path} is no plain file", hint=hint or "give a file, and no folder, pipe or device")


def _too_large(path: Path, at_most: int, hint: str | None) -> UserError:
    return UserError(f"{path} has more than {at_most:,} bytes, which no file of its kind has", hint=hint)
