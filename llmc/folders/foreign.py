"""What in a marked folder its job did not write, and the removal of what it did."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from llmc.errors import UserError
from llmc.files import TEMPORARY
from llmc.folders.marker import LOCK, NAME, FileFacts, Marker, read_marker, sha256_of

_BESIDE = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{16}\.llmc-(new|old)", re.DOTALL)
"""The name of a folder that is made to replace another, or was replaced; see `exchange`."""
_known: dict[tuple[int, ...], str] = {}
"""sha256 by what stat says of a file: weights are read once, however often they are looked at."""


def first_foreign(folder: Path, marker: Marker, *, damaged: bool = False) -> Path | None:
    """The first thing in `folder` that its job did not write: links, empty folders and changed files included.

    `damaged`: a plain file of a name that the job wrote counts as its own, whatever is in it now.
    """
    for path, relative, is_folder in _entries(folder, marker, ""):
        if is_folder:
            inner = read_marker(path)
            if inner is not None and (found := first_foreign(path, inner, damaged=damaged)) is not None:
                return found
            if inner is None and any(path.iterdir()):
                return path
        elif not _is_ours(path, relative, marker, damaged):
            return path
    return None


def owned_files(folder: Path, marker: Marker) -> dict[str, Path]:
    """The files that the job under way has written, by their paths in the folder: no temporary ones, no lock."""
    found = {}
    for path, relative, is_folder in _entries(folder, marker, ""):
        if not is_folder and _matches(relative, marker.writes) and path.is_file() and not path.is_symlink():
            found[relative] = path
    return found


def remove_owned(folder: Path, marker: Marker) -> bool:
    """Removes what the marker's job wrote, and the folder where nothing else is left in it; gives whether that is so.

    The marker goes last: what a kill leaves is still known.
    """
    for path, relative, is_folder in list(_entries(folder, marker, "")):
        if is_folder:
            inner = read_marker(path)
            if inner is not None:
                remove_owned(path, inner)
            else:
                _remove_folder(path)
        elif relative not in (NAME, LOCK) and _is_ours(path, relative, marker):
            path.unlink(missing_ok=True)
    remove_empty(folder, marker)
    if {each.name for each in os.scandir(folder)} <= {NAME, LOCK}:
        (folder / LOCK).unlink(missing_ok=True)
        (folder / NAME).unlink(missing_ok=True)
        return _remove_folder(folder)
    return False


def remove_leftovers(folder: Path, marker: Marker) -> None:
    """Removes the temporary files that a kill left of files of the job's."""
    for path, relative, is_folder in list(_entries(folder, marker, "")):
        if not is_folder and TEMPORARY.fullmatch(path.name) and _is_ours(path, relative, marker):
            path.unlink(missing_ok=True)


def is_of_a_claim(path: Path) -> bool:
    """Whether a file is what a kill in the first instant of a job leaves: a lock with its note, or a begun file."""
    if path.is_symlink() or not path.is_file():
        return False
    match = TEMPORARY.fullmatch(path.name)
    return (path.name == LOCK and path.stat().st_size > 0) or (match is not None and match["name"] in (LOCK, NAME))


def remove_claim(folder: Path) -> None:
    """Removes a folder without a marker that holds nothing but the beginning of a claim; any other stays as it is."""
    paths = [Path(entry.path) for entry in os.scandir(folder)]
    if all(is_of_a_claim(path) for path in paths):
        for path in paths:
            path.unlink()
        _remove_folder(folder)


def is_beside(name: str, target: str | None = None) -> bool:
    """Whether a folder of this name is made to replace one called `target` (any), or was replaced."""
    match = _BESIDE.fullmatch(name)
    return match is not None and target in (None, match["name"])


def _entries(folder: Path, marker: Marker, inside: str) -> Iterator[tuple[Path, str, bool]]:
    """(path, path in the folder, whether it is a folder that is looked at as one) of everything but plain folders."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        relative, path = inside + entry.name, Path(entry.path)
        if not entry.is_dir(follow_symlinks=False):
            yield path, relative, False
        elif _is_inner(entry.name, relative, marker):
            yield path, relative, True
        elif _may_hold(relative, marker):
            yield from _entries(path, marker, relative + "/")
        else:
            yield path, relative, False


def _is_inner(name: str, relative: str, marker: Marker) -> bool:
    """Whether a folder is one with a marker of its own: the result of a stage, or what is beside it for a while."""
    match = _BESIDE.fullmatch(name)
    plain = relative[: -len(name)] + match["name"] if match is not None else relative
    return _matches(plain, marker.folders)


def _may_hold(relative: str, marker: Marker) -> bool:
    """Whether files of the job may lie below a folder."""
    names = [*(marker.files or ()), *marker.folders, *(() if marker.finished else marker.writes)]
    depth = relative.count("/") + 1
    for name in names:
        parts = name.split("/")
        if len(parts) > depth and _matches(relative, ["/".join(parts[:depth])]):
            return True
        if "**" in parts[:-1] and _matches(relative, ["/".join(parts[: parts.index("**") + 1])]):
            return True
    return False


def _is_ours(path: Path, relative: str, marker: Marker, damaged: bool = False) -> bool:
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return True
    if not stat.S_ISREG(facts.st_mode):
        return False
    if relative in (NAME, LOCK):
        return True
    if (match := TEMPORARY.fullmatch(path.name)) is not None:
        relative = relative[: -len(path.name)] + match["name"]
        return relative == NAME or _matches(relative, [*(marker.files or ()), *marker.writes])
    if marker.files is None:
        return _matches(relative, marker.writes)
    return relative in marker.files and (damaged or _unchanged(path, facts, marker.files[relative]))


def _unchanged(path: Path, found: os.stat_result, told: FileFacts) -> bool:
    if told.sha256 is None:
        return True
    if found.st_size != told.size:
        return False
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if key not in _known:
        _known[key] = sha256_of(path)
    return _known[key] == told.sha256


def _matches(relative: str, patterns: object) -> bool:
    return any(_regex(pattern).fullmatch(relative) for pattern in patterns)  # type: ignore[attr-defined]


def _regex(pattern: str) -> re.Pattern[str]:
    """`*` stays within a name; `**` is any number of folders, none too."""
    parts = ["(?:.*/)?" if part == "**" else _within(part) + "/" for part in pattern.split("/")]
    return re.compile("".join(parts)[:-1] if parts[-1].endswith("/") else "".join(parts) + ".*", re.DOTALL)


def _within(part: str) -> str:
    return "[^/]*".join(re.escape(piece) for piece in part.split("*"))


def remove_empty(folder: Path, marker: Marker, inside: str = "") -> None:
    """Removes the folders that the job's files lay in, where they are empty."""
    for entry in list(os.scandir(folder)):
        relative = inside + entry.name
        if entry.is_dir(follow_symlinks=False) and _may_hold(relative, marker):
            remove_empty(Path(entry.path), marker, relative + "/")
            _remove_folder(Path(entry.path))


def _remove_folder(path: Path) -> bool:
    try:
        path.rmdir()
    except OSError:
        return False
    return True


def refuse_foreign(folder: Path, marker: Marker, *, option: str, damaged: bool = False) -> None:
    """Raises `UserError` that names the first thing in the folder that its job did not write."""
    if (found := first_foreign(folder, marker, damaged=damaged)) is not None:
        name = os.path.relpath(found, folder)
        changed = marker.files is not None and name in marker.files and found.is_file() and not found.is_symlink()
        what = f"{name} otherwise than llmc wrote it" if changed else f"{name} as well, which llmc did not write"
        hint = "move it away" if not changed else "move it away or remove it"
        raise UserError(f"{folder} holds {what}; {option} would touch it", hint=f"{hint}, or choose another --out")
