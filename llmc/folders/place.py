"""Whether a path can be an output folder at all, seen from where it lies: one sentence for each that can't."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from llmc.errors import UserError


def check_out(out: Path, reads: Mapping[str, Path | None], *, option: str = "--out") -> None:
    """Raises `UserError` for a folder that is the current one, a link, a file, or holds what the command reads.

    `reads` are the files and folders that the command reads, by what they are called. Those called "the model" must
    not hold the folder either: what is written there would become a part of the model.
    """
    refuse_unusable(out, option)
    real = Path(os.path.realpath(out))
    here = Path(os.path.realpath(os.curdir))
    if real == here or real in here.parents:
        raise UserError(
            f"{option} {out} is the current folder or holds it", hint="give a folder of its own for the result"
        )
    for what, path in reads.items():
        if path is None:
            continue
        read = Path(os.path.realpath(path))
        if read == real:
            raise UserError(f"{option} is {what} itself", hint="choose another directory")
        if real in read.parents:
            raise UserError(f"{option} {out} holds {what}, {path}", hint="choose another directory")
        if what == "the model" and read in real.parents:
            raise UserError(f"{option} {out} lies inside the model", hint="choose another directory")


def refuse_unusable(out: Path, option: str = "--out") -> None:
    """Raises `UserError` where a link or a file stands at `out`, or where no folder can be reached there."""
    mode = refuse_unreachable(out, option)
    if mode is None:
        return
    if stat.S_ISLNK(mode):
        raise UserError(f"{out} is a link", hint="give the folder that it leads to, or another --out")
    if not stat.S_ISDIR(mode):
        raise UserError(f"{out} is a file", hint="give another --out")


def refuse_unreachable(out: Path, option: str) -> int | None:
    """The mode of what stands at `out`, None for nothing. `UserError` where the path leads nowhere: a loop of links."""
    try:
        return out.lstat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            return None  # `check_place` names the file in the path
        why = "leads round in a circle of links" if error.errno == errno.ELOOP else _why(error)
        raise UserError(f"{option} {_short(out)} {why}", hint="give another path") from None
    except ValueError as error:  # a NUL
        raise UserError(f"{option} {_short(out)} is no path: {error}", hint="give another path") from None


def _why(error: OSError) -> str:
    return f"can't be reached ({(error.strerror or str(error)).lower()})"


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 100 else text[:99] + "…"
