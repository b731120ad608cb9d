"""What a finished folder says of its own files: bytes and sha256 of each, and a seal on the manifest that says so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

SEAL = "seal"
"""The manifest's key that holds the sha256 of all its other keys."""


class FileFacts(NamedTuple):
    """A file as it was written."""

    bytes: int
    sha256: str


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def facts_of(path: Path) -> FileFacts:
    """The size and the sha256 of a file."""
    return FileFacts(path.stat().st_size, file_sha256(path))


def same_file(path: Path, facts: FileFacts, *, contents: bool = True) -> bool:
    """Whether `path` is a file with these facts; without `contents` its size is all that is looked at."""
    if not path.is_file() or path.stat().st_size != facts.bytes:
        return False
    return not contents or file_sha256(path) == facts.sha256


def described(directory: Path, names: Iterable[str], known: Mapping[str, FileFacts] | None = None) -> dict[str, Any]:
    """The facts of files by their names below `directory`, as JSON; those in `known` aren't read again."""
    facts = {name: (known or {}).get(name) or facts_of(directory / name) for name in names}
    return {name: dict(facts[name]._asdict()) for name in sorted(facts)}


def not_as_written(directory: Path, files: Mapping[str, FileFacts], *, contents: bool = True) -> dict[str, str]:
    """What is wrong with the files, by name: each is missing, of another size, or (with `contents`) changed."""
    wrong: dict[str, str] = {}
    for name, facts in files.items():
        path = directory / name
        if not inside(name) or not path.is_file():
            wrong[name] = "is missing"
        elif (size := path.stat().st_size) != facts.bytes:
            wrong[name] = f"has {size:,} bytes, not the {facts.bytes:,} that were written"
        elif contents and file_sha256(path) != facts.sha256:
            wrong[name] = "has changed since it was written"
    return wrong


def inside(name: str) -> bool:
    """Whether `name` stays below the folder that it is taken from."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name not in ("", ".")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` as a reader will find it in a JSON file, with its seal."""
    plain = {key: value for key, value in _as_read(content).items() if key != SEAL}
    return {**plain, SEAL: _digest(plain)}


def seal_holds(content: Mapping[str, Any]) -> bool | None:
    """Whether what was read is what was sealed; None where nothing ever was: no seal, and no list of files."""
    if content.get(SEAL) is None:
        return False if content.get("files") is not None else None
    return bool(content[SEAL] == _digest({key: value for key, value in content.items() if key != SEAL}))


def _as_read(content: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    return dict(json.loads(text.encode("utf-8", "replace")))  # as `replace_text` writes lone surrogates


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
