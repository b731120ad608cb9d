"""Files that are whole or absent: written beside their place, put on the disk, and moved there in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmc.errors import UserError

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.llmc-tmp", re.DOTALL)
"""The names of files that are being written. A kill can leave one; nobody else gives such a name."""
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes its place at `path` when the block ends without an error, and not before."""
    with whole_path(path) as beside, os.fdopen(os.open(beside, os.O_WRONLY | _NO_LINK), "wb") as file:
        yield file


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """As `whole_file`, for a library that opens what it writes by its name: an empty new file of that name.

    Its name is nobody else's and it is made anew, so that no file and no link of that name is written through.
    `UserError` where a link or anything else than a file stands at `path`: it would be replaced.
    """
    refuse_special(path)
    beside = path.with_name(f".{path.name[:180]}.{secrets.token_hex(8)}.llmc-tmp")
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666))
    try:
        yield beside
        descriptor = os.open(beside, os.O_RDONLY | _NO_LINK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def refuse_special(path: Path) -> None:
    """Raises `UserError` where a link, a folder, a device or anything else that is no plain file stands at `path`."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(mode):
        what = "a link" if stat.S_ISLNK(mode) else "a directory" if stat.S_ISDIR(mode) else "no plain file"
        raise UserError(f"{path} is {what}, which llmc does not replace", hint="move it away or give another path")


def link_new(beside: Path, path: Path) -> bool:
    """Gives a file that is whole a second name that nothing has yet; False where something has it."""
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        if os.path.lexists(path):  # a file system without links: between this look and the next line is a gap
            return False
        beside.rename(path)
    sync_folder(path.parent)
    return True


def sync_folder(folder: Path) -> None:
    """Waits until the folder's entries are on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
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
