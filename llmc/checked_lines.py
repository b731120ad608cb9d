"""Files of lines that are each checked when they are read: number, length and checksum stand before the text.

`3 17 9f86d081884c7d659a2feaa0c55ad015 {"some": "JSON"}`: a line that was torn, changed, moved or put in twice, or that
comes from another job's file, is known from the others and left out. `seal` is what the job's lines have in common.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from llmc.files import sync_folder, whole_file


class CheckedLines(NamedTuple):
    """What was read of a file."""

    texts: tuple[str, ...]
    """The texts of the lines that are as they were written, in their order."""
    last: int
    """The number of the last of them; 0 where there is none."""
    n_dropped: int
    """Lines that are not: damaged, out of order, put in twice, or another job's."""
    gap: bool
    """Whether a number is left out, so that a line is gone, or was dropped, before one that is here."""


def checked_line(text: str, number: int, seal: str = "") -> bytes:
    """The line for `text`, which holds no newline; `number` counts from 1."""
    content = text.encode("utf-8")
    if b"\n" in content:
        raise ValueError("a line's text holds a newline")
    return b"%d %d %s %s\n" % (number, len(content), _checksum(content, number, seal), content)


def read_lines(path: Path, seal: str = "") -> CheckedLines:
    """The lines of a file that are as they were written; of a file that isn't there, none."""
    if not path.exists():
        return CheckedLines((), 0, 0, False)
    texts: list[str] = []
    last, n_dropped, gap = 0, 0, False
    with path.open("rb") as file:
        for line in file:
            found = _parsed(line, seal)
            if found is None or found[0] <= last:
                n_dropped += 1
                continue
            gap = gap or found[0] != last + 1
            last = found[0]
            texts.append(found[1])
    return CheckedLines(tuple(texts), last, n_dropped, gap)


def write_lines(path: Path, texts: Iterable[str], seal: str = "") -> None:
    """Puts `texts`, numbered from 1, in the place of the whole file, in one step."""
    with whole_file(path) as file:
        for number, text in enumerate(texts, 1):
            file.write(checked_line(text, number, seal))


def append_line(path: Path, text: str, number: int, seal: str = "") -> None:
    """Appends one line and waits until it is on the disk. The file must end with a whole line, or not be there."""
    line = checked_line(text, number, seal)
    new = not path.exists()
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def _parsed(line: bytes, seal: str) -> tuple[int, str] | None:
    """(number, text) of a line; None for one that is not as it was written."""
    parts = line.split(b" ", 3)
    if len(parts) < 4 or not line.endswith(b"\n"):
        return None
    written, content = parts[0], parts[3][:-1]
    if not written.isdigit() or len(written) > 18 or parts[1] != b"%d" % len(content):
        return None
    number = int(written)
    if written != b"%d" % number or parts[2] != _checksum(content, number, seal):
        return None
    return number, content.decode("utf-8")


def _checksum(content: bytes, number: int, seal: str) -> bytes:
    digest = hashlib.sha256(b"%s\n%d\n%d\n" % (seal.encode(), number, len(content)))
    digest.update(content)
    return digest.hexdigest()[:32].encode()
