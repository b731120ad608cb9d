"""The output folder of one job: claimed, locked, written, and only at the end put in the place of an older one."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

from llmc.checksums import FileFacts as WrittenFacts
from llmc.errors import UserError
from llmc.files import TEMPORARY, sync_folder
from llmc.folders import exchange as beside
from llmc.folders.foreign import (
    is_of_a_claim,
    owned_files,
    refuse_foreign,
    remove_empty,
    remove_leftovers,
    remove_owned,
)
from llmc.folders.lock import FolderLock, refuse_held, take
from llmc.folders.marker import LOCK, MADE_BY, NAME, Kind, Marker, inventory, read_marker, write_first, write_marker


class State(Enum):
    """What a folder is before a job writes there."""

    NEW = "absent or empty"
    UNMARKED = "of somebody else, or of an llmc that did not mark its folders"
    BEGUN = "of a job that has not ended"
    FINISHED = "of a job that has ended"


Admit = Callable[[State, Marker | None], None]
"""Raises `UserError` where a command does not take a folder as it is."""


def look(out: Path, kind: Kind) -> tuple[State, Marker | None]:
    """What the folder is; a `UserError` for a link, a file, or the result of another command. Writes nothing."""
    try:
        if not stat.S_ISDIR(out.lstat().st_mode):
            raise UserError(f"{out} is a link or a file", hint="give another --out")
        marker, names = read_marker(out), {entry.name for entry in os.scandir(out)}
    except (FileNotFoundError, NotADirectoryError):
        return State.NEW, None
    if marker is None:
        return (State.NEW if all(is_of_a_claim(out / name) for name in names) else State.UNMARKED), None
    if marker.kind != kind:
        raise UserError(f"{out} is {MADE_BY[marker.kind]}, not {MADE_BY[kind]}", hint="choose another --out")
    return (State.FINISHED if marker.finished else State.BEGUN), marker


class Output:
    """What a job writes to: `folder`, which is `out` where that is new or gone on with, else a folder beside it.

    A context manager. `finish` puts everything in place; whatever ends the block before leaves the former result as
    it was, and what was written for `resume`.
    """

    def __init__(
        self,
        out: Path,
        marker: Marker,
        admit: Admit,
        *,
        resume: bool = False,
        overwrite: bool = False,
        at_once: bool = False,
    ) -> None:
        """`at_once`: a new folder appears whole too; what is left of a job that did not end is made again."""
        self.out = self.folder = out
        self._marker, self._admit = marker, admit
        self._resume, self._overwrite, self._at_once = resume, overwrite, at_once
        self._former: Marker | None = None
        self._locks: list[FolderLock] = []
        self._made = self._done = False

    def __enter__(self) -> Output:
        try:
            self._enter()
        except BaseException:
            self.close()
            raise
        return self

    def _enter(self) -> None:
        beside.recover(self.out)
        self._admit(*look(self.out, self._marker.kind))
        if not self.out.exists():
            self.out.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.out.mkdir()
                self._made = True
        if not self._lock():
            return
        state, found = look(self.out, self._marker.kind)  # again: it may have changed before the lock was ours
        self._admit(state, found)
        waiting = beside.pending(self.out) if self._resume else None
        if found is not None and found.finished and found.job == self._marker.job:
            waiting = None  # this job has ended already
        beside.remove_leftovers_beside(self.out, keep=waiting and waiting[0])
        if state is State.NEW:
            for entry in list(os.scandir(self.out)):
                if TEMPORARY.fullmatch(entry.name):
                    Path(entry.path).unlink()
            write_first(self.out, self._marker)
            found = self._marker
        assert found is not None
        if waiting is not None or (self._overwrite and state is not State.NEW) or self._appears(state):
            self._former = found
            self._go_beside(waiting)
        else:
            self._marker = found
            if found.instead_of is not None:  # a kill came right after an exchange
                self._put(found.model_copy(update={"instead_of": None}))
        remove_leftovers(self.folder, self._marker)

    def _lock(self) -> bool:
        """Takes the lock of `out`; False for a finished result that is only read, where nothing can be written."""
        try:
            self._locks.append(take(self.out))
        except OSError as error:
            state, found = look(self.out, self._marker.kind)
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or found is None or self._overwrite:
                raise
            if state is not State.FINISHED:
                raise
            self._marker = found
            return False
        return True

    def _put(self, marker: Marker) -> None:
        self._marker = marker
        write_marker(self.folder, marker)

    def _appears(self, state: State) -> bool:
        """Whether even a new folder is made beside: not at a mount point, where nothing of an older one can be lost."""
        if not self._at_once:
            return False
        try:
            beside.refuse_unmovable(self.out)
        except UserError:
            if state is State.FINISHED:
                raise
            return False
        return True

    def _go_beside(self, waiting: tuple[Path, Marker] | None) -> None:
        beside.refuse_unmovable(self.out)
        if waiting is not None:
            self.folder, self._marker = waiting
            self._locks.append(take(self.folder))
            refuse_foreign(self.folder, self._marker, option="--resume")
            return
        self.folder = beside.place_beside(self.out)
        self.folder.mkdir()
        self._locks.append(take(self.folder))
        name = Path(os.path.realpath(self.out)).name
        self._marker = self._marker.model_copy(update={"instead_of": name})
        write_first(self.folder, self._marker)

    @property
    def marker(self) -> Marker:
        """The marker of `folder` as it is now."""
        return self._marker

    def will_write(self, patterns: Iterable[str]) -> None:
        """Says which further files the job may write from now on; a `UserError` where one of another's lies there."""
        refuse_foreign(self.folder, self._marker, option="this job")
        writes = tuple(dict.fromkeys([*self._marker.writes, *patterns]))
        if writes != self._marker.writes:
            self._put(self._marker.model_copy(update={"writes": writes}))

    def drop(self, patterns: Iterable[str]) -> None:
        """Removes the working files that the job has written, once the result doesn't need them."""
        working = self._marker.model_copy(update={"writes": tuple(patterns), "files": None})
        for path in owned_files(self.folder, working).values():
            path.unlink(missing_ok=True)
        remove_empty(self.folder, working)

    def reopen(self) -> None:
        """Makes a finished folder one under way, to put back what it has lost; its files may all be written again."""
        refuse_foreign(self.folder, self._marker, option="this job", damaged=True)
        if self._marker.files is not None:
            writes = tuple(dict.fromkeys([*self._marker.files, *self._marker.writes]))
            self._put(self._marker.model_copy(update={"files": None, "writes": writes}))

    def finish(self, untold: Iterable[str] = (), known: Mapping[str, WrittenFacts] | None = None) -> None:
        """Marks the folder as whole and puts it in its place.

        `untold` are files that hold times: not hashed. `known` are the facts of files that were hashed as they were
        written.
        """
        if not self._marker.finished:
            files = inventory(owned_files(self.folder, self._marker), frozenset(untold), known or {})
            self._put(self._marker.model_copy(update={"files": files, "writes": ()}))
        if self._former is not None:
            self._replace(self._former)
            self._former = None
        self._done = True

    def _replace(self, former: Marker) -> None:
        try:
            refuse_foreign(self.out, former, option="--overwrite")
        except UserError as error:
            raise UserError(
                f"{error.problem}; the new result is whole in {self.folder}", hint="move that away, then use --resume"
            ) from None
        shutil.copymode(self.out, self.folder)
        old = beside.exchange(self.folder, self.out)
        outer, inner = self._locks
        outer.moved(old)
        inner.moved(self.out)
        self.folder = self.out
        self._put(self._marker.model_copy(update={"instead_of": None}))
        remove_owned(old, former)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the folders back; takes away what is of no use to a later `--resume`."""
        if not self._done and self._locks:
            with contextlib.suppress(OSError, UserError):
                self._tidy()
        while self._locks:
            self._locks.pop().release()
        if not self._done and self._made:
            with contextlib.suppress(OSError):
                self.out.rmdir()

    def _tidy(self) -> None:
        if self._marker.finished:
            return
        if self._at_once:
            remove_owned(self.folder, self._marker)
        elif _is_bare(self.folder):
            remove_empty(self.folder, self._marker)
            self._unclaim(self.folder, self._marker)
        if self.folder != self.out and not self.folder.exists() and self._former and not self._former.finished:
            self._unclaim(self.out, self._former)

    def _unclaim(self, folder: Path, marker: Marker) -> None:
        """Takes the marker off a folder in which nothing was written."""
        if {entry.name for entry in os.scandir(folder)} <= {LOCK, NAME} and read_marker(folder) == marker:
            (folder / NAME).unlink()
            sync_folder(folder)
            if folder != self.out:
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()


def _is_bare(folder: Path) -> bool:
    """Whether no file of a job lies in a folder."""
    return all(set(files) <= {LOCK, NAME} for _, _, files in os.walk(folder))


def refuse_writer(out: Path) -> None:
    """Raises `UserError` where another process writes in the folder now."""
    if out.is_dir() and not out.is_symlink():
        refuse_held(out)
