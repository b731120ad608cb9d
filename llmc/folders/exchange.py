"""A new folder in the place of an old one: made beside it, then exchanged by the kernel in one step.

`.NAME.<16 hex digits>.llmc-new`  beside NAME: what is to replace it, or, after the exchange, what it replaced
`.NAME.<16 hex digits>.llmc-old`  the old one for the moment between two renames, where the kernel knows no exchange
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
from pathlib import Path

from llmc.errors import UserError
from llmc.files import sync_folder
from llmc.folders.foreign import is_beside, remove_claim, remove_owned
from llmc.folders.lock import refuse_held, take
from llmc.folders.marker import Marker, read_marker

_AT_FDCWD, _EXCHANGE = -100, 2
_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EPERM}
"""What a kernel or a file system answers that can't exchange two names."""


def place_beside(target: Path) -> Path:
    """A new name for the folder that is to replace `target`, in the same folder and so on the same file system."""
    real = _real(target)
    return real.with_name(f".{real.name}.{secrets.token_hex(8)}.llmc-new")


def pending(target: Path) -> tuple[Path, Marker] | None:
    """The folder that an `--overwrite` of `target` began beside it and did not finish; None where there is none."""
    found = [(path, marker) for path, marker in _beside(target) if marker.instead_of == _real(target).name]
    return max(found, key=lambda pair: pair[0].stat().st_mtime_ns, default=None)


def exchange(new: Path, target: Path) -> Path:
    """Puts `new` at `target` and gives the path at which the former folder is now.

    At every instant `target` is one of the two whole folders; where the kernel can't do that, it is missing between
    two renames, and `recover` mends what a kill leaves there.
    """
    if not os.path.lexists(target):
        new.rename(target)
        sync_folder(target.parent)
        return new
    if not _exchanged(new, target):
        aside = new.with_name(new.name.removesuffix("new") + "old")
        target.rename(aside)
        try:
            new.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        aside.rename(new)
    sync_folder(target.parent)
    return new


def recover(target: Path) -> None:
    """Puts back the old folder where a kill came between the two renames of an exchange."""
    if os.path.lexists(target):
        return
    for path, marker in _beside(target):
        if path.name.endswith("old") and marker.instead_of is None:
            refuse_held(path)
            path.rename(target)
            sync_folder(target.parent)
            return


def remove_leftovers_beside(target: Path, *, keep: Path | None = None) -> None:
    """Removes what ended processes left beside `target`, as far as llmc wrote it; what is being written stays.

    Only the holder of the target's lock may call it: only he makes folders beside.
    """
    for path, marker in _all_beside(target):
        if path != keep:
            if marker is None:
                remove_claim(path)
            else:
                discard(path, marker)


def discard(folder: Path, marker: Marker) -> None:
    """Removes a marked folder's own files; a folder that another process writes in stays as it is."""
    try:
        lock = take(folder)
    except UserError:
        return
    try:
        remove_owned(folder, marker)
    finally:
        lock.release()


def refuse_unmovable(target: Path) -> None:
    """Raises `UserError` where nothing can take the place of `target`: at a mount point, or in a read-only parent."""
    real = _real(target)
    if real.is_mount():
        raise UserError(
            f"{target} is a mount point, which nothing can take the place of", hint="give a folder inside it as --out"
        )
    if not os.access(real.parent, os.W_OK | os.X_OK):
        raise UserError(
            f"{target} can't be replaced: the new result is made in {real.parent}, which can't be written to",
            hint="choose another --out",
        )


def _beside(target: Path) -> list[tuple[Path, Marker]]:
    return [(path, marker) for path, marker in _all_beside(target) if marker is not None]


def _all_beside(target: Path) -> list[tuple[Path, Marker | None]]:
    real = _real(target)
    found: list[tuple[Path, Marker | None]] = []
    with contextlib.suppress(OSError), os.scandir(real.parent) as entries:
        for entry in entries:
            if is_beside(entry.name, real.name) and entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(UserError):
                    found.append((Path(entry.path), read_marker(Path(entry.path))))
    return found


def _real(target: Path) -> Path:
    """The folder's own name in its parent's real path."""
    return Path(os.path.realpath(target))


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two names in one step; False where that can't be done here."""
    call = getattr(_libc(), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _libc() -> object:
    try:
        return ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None
