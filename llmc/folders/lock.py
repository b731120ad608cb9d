"""One writer in a folder: a lock that dies with its process, and a note that tells the next one who holds it.

POSIX record locks: the kernel, or the NFS server, frees them when the process ends in whatever way, and a child that
lives on holds nothing. Where a file system has none, the note alone counts: it is held while its process lives.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import logging
import os
import secrets
import socket
import stat
import sys
import time
from pathlib import Path
from typing import Any

from llmc.errors import UserError
from llmc.files import link_new
from llmc.folders.marker import LOCK

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
logger = logging.getLogger(__name__)
_NONE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTSUP}
"""What a file system without locks answers."""
_held: dict[str, FolderLock] = {}
"""The locks of this process by the folder's path. One that is asked for again here goes over to who asked last."""


class FolderLock:
    """The right to write in one folder. Taken with `take`, given back with `release` or by the end of the process."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self._path, self._descriptor = folder / LOCK, descriptor
        self._key = os.path.realpath(folder)

    def release(self) -> None:
        """Gives the folder back, and leaves no file behind."""
        if _held.get(self._key) is not self:
            return  # given back, or gone over to another job of this process
        del _held[self._key]
        with contextlib.suppress(OSError):
            if _is_at(self._descriptor, self._path):
                self._path.unlink()
        os.close(self._descriptor)

    def moved(self, folder: Path) -> None:
        """Says that the folder has another name now."""
        if _held.get(self._key) is self:
            del _held[self._key]
        self._path, self._key = folder / LOCK, os.path.realpath(folder)
        _held[self._key] = self

    def taken_over(self) -> FolderLock:
        """The same lock for another job of this process, whose it is from now on."""
        _held[self._key] = FolderLock(self._path.parent, self._descriptor)
        return _held[self._key]


def take(folder: Path) -> FolderLock:
    """The lock of an existing folder; a `UserError` says which process holds it."""
    key = os.path.realpath(folder)
    if key in _held:
        return _held[key].taken_over()
    path = folder / LOCK
    while (descriptor := _try(folder, path)) is None:
        continue
    _held[key] = FolderLock(folder, descriptor)
    return _held[key]


def _try(folder: Path, path: Path) -> int | None:
    """The descriptor of the lock's file, locked, with this process's note in it; None where its holder just ended."""
    if not os.path.lexists(path) and (made := _made(path)) is not None:
        return made
    try:
        descriptor = _open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        has_locks = _lock(descriptor)
        if not _is_at(descriptor, path):
            os.close(descriptor)
            return None
        note = _note(descriptor, path)
        if has_locks is False or (has_locks is None and _lives(note)):
            raise _busy(folder, note, sure=has_locks is not None)
        if has_locks is None:
            _say_no_locks(path)
        _write_note(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.close(descriptor)
        raise
    return descriptor


def _made(path: Path) -> int | None:
    """As `_try`, for a file that isn't there: it appears with its note, locked already. None: another was quicker."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.llmc-tmp")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if _lock(descriptor) is None:
            _say_no_locks(path)
        _write_note(descriptor)
        if link_new(beside, path):
            return descriptor
    finally:
        beside.unlink(missing_ok=True)
    os.close(descriptor)
    return None


def _say_no_locks(path: Path) -> None:
    logger.warning("%s: this file system has no locks; another llmc is known by its note there alone", path)


def refuse_held(folder: Path) -> None:
    """Raises `UserError` where another process writes in the folder; changes nothing."""
    if os.path.realpath(folder) in _held or not (folder / LOCK).is_file():
        return
    descriptor = _open(folder / LOCK, os.O_RDWR)
    try:
        has_locks = _lock(descriptor)
        if has_locks is False or (has_locks is None and _lives(_note(descriptor, folder / LOCK))):
            raise _busy(folder, _note(descriptor, folder / LOCK), sure=has_locks is not None)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise UserError(f"{path} is no file that llmc wrote", hint="move it away or choose another --out") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path} is no file that llmc wrote", hint="move it away or choose another --out")
    return descriptor


def _lock(descriptor: int) -> bool | None:
    """True: this process has the lock now; False: another one has it; None: there are no locks here."""
    if fcntl is None:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno in _NONE:
            return None
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _note(descriptor: int, path: Path) -> dict[str, Any]:
    """Who wrote the lock's file last. `UserError` for a file that no lock left."""
    content = os.pread(descriptor, 1 << 16, 0)
    try:
        note: Any = json.loads(content)
        if isinstance(note, dict) and isinstance(note["pid"], int) and isinstance(note["host"], str):
            return note
    except (ValueError, KeyError, RecursionError):
        pass
    raise UserError(f"{path} is no file that llmc wrote", hint="move it away or choose another --out")


def _write_note(descriptor: int) -> None:
    note = {
        "pid": os.getpid(),
        "begun": _begun(os.getpid()),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": " ".join(Path(word).name if i == 0 else word for i, word in enumerate(sys.argv))[:1000],
    }
    text = json.dumps(note)
    os.pwrite(descriptor, text.ljust(os.fstat(descriptor).st_size).encode(), 0)  # in one write: never half of it


def _begun(pid: int) -> str | None:
    """When a process of this machine began, so that a number given again isn't taken for it; None if unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _lives(note: dict[str, Any]) -> bool:
    """Whether the note's process may be at work still: one of another machine may."""
    if note["host"] != socket.gethostname():
        return True
    try:
        os.kill(note["pid"], 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return note["pid"] != os.getpid() and note.get("begun") in (None, _begun(note["pid"]))


def _busy(folder: Path, note: dict[str, Any], *, sure: bool) -> UserError:
    command, host = _line(note.get("command", "?"), 120), _line(note["host"], 60)
    who = f"process {note['pid']} on {host} (`{command}`, since {_line(note.get('since', '?'), 19)})"
    hint = "wait for its end or stop it"
    if not sure:
        hint += f"; if it is gone, remove {folder / LOCK}"
    return UserError(f"{folder} is being written by {who}", hint=hint)


def _line(value: object, most: int) -> str:
    """A note's text made fit for a sentence."""
    text = "".join(ch if ch.isprintable() else "?" for ch in str(value)[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"
