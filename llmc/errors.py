"""The one exception for what a user can mend, and the exit codes that every command shares."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """What a process exit code of `llmc` means."""

    OK = 0
    LOST = 1
    """A gate found a loss or a collapse."""
    USER = 2
    """A mistake the user can mend, said in one sentence."""
    UNDECIDED = 3
    """A gate could neither show nor rule out a loss."""
    NOT_COMPARABLE = 4
    """The runs differ in items, prompts, mode or scorer."""
    INTERNAL = 70
    """Our own fault: an uncaught exception."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C; the command can be resumed."""
    TERMINATED = 143
    """Stopped by SIGTERM, in the same way."""


class UserError(Exception):
    """Something the user can mend: `problem` says what is wrong, `hint` says the way out."""

    exit_code: Exit = Exit.USER

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        return self.problem if self.hint is None else f"{self.problem}; {self.hint}"


class NotComparable(UserError):
    """Runs that measure different things, with what differs."""

    exit_code = Exit.NOT_COMPARABLE

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"NOT COMPARED: {problem}", hint=hint)


_WAYS_OUT = {
    errno.ENOSPC: "free some space and run the same command again, with --resume where it has one",
    errno.EDQUOT: "free some space and run the same command again, with --resume where it has one",
    errno.EACCES: "choose another path, or change its permissions",
    errno.EPERM: "choose another path, or change its permissions",
    errno.EROFS: "choose a path that can be written to",
    errno.ENOTDIR: "a part of this path is a file; choose another path",
    errno.EISDIR: "this is a directory; give a file",
    errno.EEXIST: "choose another path",
    errno.ELOOP: "this path leads round in links; choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
}


def disk_sentence(error: OSError) -> str | None:
    """What a user can mend about a file or a disk, in one sentence; None where the error may be our own fault."""
    way = _WAYS_OUT.get(error.errno or 0)
    if way is None:
        return None
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{(error.strerror or str(error)).lower()}; {way}"


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """A `UserError` for a name that is not among `known`, naming the nearest match or the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(names)}"
    return UserError(f"unknown {kind} {name!r}", hint=hint)
