"""The marker of a folder: the file that says which job of llmc the folder belongs to and what that job writes there.

A folder without one is nobody's, or of an llmc before it marked its folders: nothing in it is replaced or removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from llmc.checksums import FileFacts as WrittenFacts
from llmc.errors import UserError
from llmc.files import link_new, replace_text
from llmc.version import __version__

NAME = ".llmc-folder.json"
LOCK = ".llmc-lock"
"""Who writes in the folder now; see `lock`."""
_LARGEST = 1 << 26
Kind = Literal["compress", "eval", "report", "run", "demo"]
MADE_BY = {
    "compress": "a compression", "eval": "a run of llmc eval", "report": "a report", "run": "what llmc run made",
    "demo": "a demo",
}  # fmt: skip
"""What a folder of each kind is called in a sentence."""


class FileFacts(BaseModel):
    """A file as it was written. sha256 None: it holds times, so that its bytes are not part of what the job is."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int | None = None
    sha256: str | None = None


class Marker(BaseModel):
    """`.llmc-folder.json`. The same job gives the same marker, so that equal results are equal folders."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    llmc_folder: Literal[1] = 1
    kind: Kind
    job: str
    """A hash of what the job is, settings and inputs."""
    version: str
    """The llmc that wrote it."""
    instead_of: str | None = None
    """The folder beside this one that it is made to replace."""
    writes: tuple[str, ...] = ()
    """Patterns of the files that the job may write while it is under way; `**` stands for folders too."""
    folders: tuple[str, ...] = ()
    """Patterns of the folders inside that have markers of their own."""
    files: dict[str, FileFacts] | None = None
    """Every file of the finished result; None while the job is under way."""

    @property
    def finished(self) -> bool:
        """Whether the job has ended and everything is there."""
        return self.files is not None


def job_id(what: object) -> str:
    """A hash of what a job is, given as anything that JSON can hold."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]


def new_marker(kind: Kind, job: str, **more: Any) -> Marker:
    """The marker of a job of this llmc."""
    return Marker(kind=kind, job=job, version=__version__, **more)


def read_marker(folder: Path) -> Marker | None:
    """The folder's marker; None where there is none. `UserError` for a file of that name that llmc did not write."""
    path = folder / NAME
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LARGEST:
            raise ValueError
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            content = file.read(_LARGEST)
        return Marker.model_validate_json(content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, ValidationError, RecursionError):
        raise UserError(f"{path} is not a marker that this llmc wrote", hint="choose another --out") from None


def write_first(folder: Path, marker: Marker) -> bool:
    """Marks a folder that has no marker yet; False where one came first, which is left as it is."""
    beside = folder / f".{NAME}.{secrets.token_hex(8)}.llmc-tmp"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_text(marker).encode())
            file.flush()
            os.fsync(file.fileno())
        return link_new(beside, folder / NAME)
    finally:
        beside.unlink(missing_ok=True)


def write_marker(folder: Path, marker: Marker) -> None:
    """Puts the marker in the place of the folder's former one."""
    replace_text(folder / NAME, _text(marker))


def told(folder: Path, name: str) -> None:
    """Notes in the marker of a finished folder, where it has one, a file that another command of llmc wrote there."""
    marker = read_marker(folder)
    if marker is not None and marker.files is not None:
        files = {**marker.files, name: facts_of(folder / name)}
        write_marker(folder, marker.model_copy(update={"files": dict(sorted(files.items()))}))


def _text(marker: Marker) -> str:
    return json.dumps(marker.model_dump(exclude_none=True), indent=1, sort_keys=True) + "\n"


def facts_of(path: Path) -> FileFacts:
    """Size and sha256 of a file."""
    return FileFacts(size=path.stat().st_size, sha256=sha256_of(path))


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, read in pieces and not through a link."""
    found = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return found.hexdigest()


def inventory(
    files: Mapping[str, Path], untold: frozenset[str], known: Mapping[str, WrittenFacts]
) -> dict[str, FileFacts]:
    """The facts of each file by its path in the folder; of those in `untold`, which hold times, none.

    Those in `known` aren't read again.
    """
    found = {}
    for name, path in sorted(files.items()):
        if name in untold:
            found[name] = FileFacts()
        elif name in known:
            found[name] = FileFacts(size=known[name].bytes, sha256=known[name].sha256)
        else:
            found[name] = facts_of(path)
    return found
