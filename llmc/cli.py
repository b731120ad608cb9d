"""The `llmc` command: hears signals before it imports anything that takes time, and ends with an exit code."""

from __future__ import annotations

import os
from typing import NoReturn

from llmc.stopping import Stop, stoppable


def run(arguments: list[str] | None = None) -> int:
    """The exit code of `llmc ARGUMENTS`, in the caller's process."""
    with stoppable() as stop:
        try:
            code = _call(arguments)
            return code if stop.code is None else stop.interrupted()
        except KeyboardInterrupt:
            return stop.interrupted()


def _call(arguments: list[str] | None = None) -> int:
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' bars; ours is in commands/rendering/progress.py
    from llmc.commands.rendering.app import call

    return call(arguments)


def main() -> NoReturn:
    """The console entry point: the process is ours, and ends here."""
    stop = Stop()
    try:
        stop.listen(owner=True)
        stop.end(_call())
    except BaseException as error:
        if stop.code is None and not isinstance(error, KeyboardInterrupt):
            raise
        stop.end(stop.interrupted())
