"""The one exception for what a user can mend, and the exit codes that every command shares."""

from __future__ import annotations

import difflib
import errno
import reprlib
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


LONGEST = 500
"""Characters that a message has at most: what it quotes comes from files and arguments of any length."""


def shortened(text: str, longest: int = LONGEST) -> str:
    """`text` with its middle left out where it is longer than that: what is wrong stands at its ends."""
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - tail - 1]}…{text[len(text) - tail :]}"


def quoted(value: object, longest: int = 60) -> str:
    """`value` as Python writes it, cut; also one whose own text would be gigabytes long, or has no end."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = longest
    short.maxdict = short.maxlist = short.maxtuple = short.maxset = 4
    short.maxlevel = 3
    return shortened(short.repr(value), longest)


class UserError(Exception):
    """Something the user can mend: `problem` says what is wrong, `hint` says the way out."""

    exit_code: Exit = Exit.USER

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        """Both are cut where they are long, so that the whole sentence has at most `LONGEST` characters."""
        room = max(LONGEST - len(problem) - 2, LONGEST * 2 // 5)  # what the problem leaves, and two fifths at least
        self.hint = None if hint is None else shortened(hint, room)
        taken = 0 if self.hint is None else len(self.hint) + 2
        self.problem = shortened(problem, LONGEST - taken)
        super().__init__(self.problem)

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
    errno.ELOOP: "this link leads back to itself; choose another path",
    errno.EFBIG: "files may not be that large here (`ulimit -f`, or the file system's own limit); choose another place",
    errno.ENXIO: "this is no plain file; give one",
    errno.ENODEV: "this is no plain file; give one",
    errno.ESPIPE: "this is no plain file; give one",
    errno.EIO: "the device failed; try again, or choose another one",
    errno.EMFILE: "too many files are open (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EBUSY: "something else uses it; try again later",
    errno.ETXTBSY: "something else uses it; try again later",
    errno.ESTALE: "the file server has lost it; run the same command again",
}


def disk_sentence(error: OSError) -> str | None:
    """What a user can mend about a file or a disk, in one sentence; None where the error may be our own fault."""
    way = _WAYS_OUT.get(error.errno or 0)
    if way is None:
        return None
    where = "" if error.filename is None else f"{shortened(str(error.filename), 200)}: "
    return shortened(f"{where}{(error.strerror or str(error)).lower()}; {way}")


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """A `UserError` for a name that is not among `known`, naming the nearest match or the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(name[:200], names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from: {', '.join(names)}"
    return UserError(f"unknown {kind} {quoted(name)}", hint=hint)
