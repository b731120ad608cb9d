"""Ctrl-C and SIGTERM: a command ends in order, or, where that takes too long or is asked twice, at once.

The first signal raises KeyboardInterrupt, so that every block on the way out tidies up. Libraries may lose it (C code
turns it into an error of its own, a destructor swallows it), so what counts is that a signal came, not what became of
it: the command then ends as interrupted, whatever it ends with. A thread that the system wakes even while the main
thread is inside C code watches the clock. Nothing is lost by an end at once: all files are whole or absent.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from llmc.errors import Exit

GRACE = 5.0
"""Seconds that the way out may take."""
SAME = 0.2
"""Signals within so many seconds are one: `timeout` sends its own to the process and to its group."""
SENTENCE = "llmc: interrupted; what is finished is kept, run it again, with --resume where the command has that"
_CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Stop:
    """What came of the signals of one command."""

    def __init__(self) -> None:
        self.code: Exit | None = None
        """That of the first signal; None while none has come."""
        self._said, self._raised, self._last = threading.Lock(), False, False
        self._before: dict[int, Any] = {}
        self._owner = False

    def listen(self, *, owner: bool) -> None:
        """From now on a signal is heard. `owner`: the process is the command's own, which may end it at once.

        A signal that the caller of the process has it ignore (a shell's background job) stays ignored.
        """
        self._owner = owner
        _listening.append(self)
        if owner:
            self._watch()
        for number in _CODES:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, self._heard)

    def leave(self) -> None:
        """Puts the handlers back that were there before."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}
        if self in _listening:
            _listening.remove(self)

    def interrupted(self) -> Exit:
        """The code of a command that a signal, or a KeyboardInterrupt of whatever origin, has ended; says so."""
        self.code = self.code or Exit.INTERRUPTED
        self.say()
        return self.code

    def end(self, code: int) -> NoReturn:
        """Ends the process with `code`, or as interrupted if a signal came; one that comes now ends it at once.

        The interpreter is not taken down: a signal would have its way there, and threads that are still inside torch
        would crash.
        """
        self._last = True
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # its reader is gone
                stream.flush()
        self._end_now(code if self.code is None else self.code)

    def say(self) -> None:
        """The sentence, once."""
        if not self._said.acquire(blocking=False):
            return
        with contextlib.suppress(OSError, ValueError):
            if not self._owner:
                sys.stderr.write(f"{SENTENCE}\n")
                return
            # By the descriptor: the stream may be held by whom the signal met, and a bar may have hidden the cursor.
            cursor = "\x1b[?25h" if os.isatty(2) else ""
            os.write(2, f"{cursor}{SENTENCE}\n".encode())

    def _heard(self, number: int, frame: FrameType | None) -> None:
        first, self._raised = not self._raised, True
        self.code = self.code or _CODES[signal.Signals(number)]
        if self._last:
            self._end_now(self.code)
        if first:
            raise KeyboardInterrupt

    def _watch(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._wait, args=(read,), name="signals", daemon=True).start()

    def _wait(self, read: int) -> None:
        """Ends the process when the first signal is `GRACE` seconds old, or when a second one comes."""
        first = next(number for number in iter(lambda: os.read(read, 1)[0], None) if number in _CODES)
        until = time.monotonic() + GRACE
        time.sleep(SAME)
        while select.select([read], [], [], 0)[0]:
            os.read(read, 64)
        while (left := until - time.monotonic()) > 0 and select.select([read], [], [], left)[0]:
            if os.read(read, 1)[0] in _CODES:
                break
        self.code = self.code or _CODES[signal.Signals(first)]
        self._end_now(self.code)

    def _end_now(self, code: int) -> NoReturn:
        if self.code is not None:
            self.say()
        os._exit(code)


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Inside, signals raise KeyboardInterrupt and are remembered; the process is its caller's."""
    stop = Stop()
    if threading.current_thread() is threading.main_thread():  # only there can a signal be heard
        stop.listen(owner=False)
    try:
        yield stop
    finally:
        stop.leave()


def heard() -> bool:
    """Whether a signal has come for the command that is running."""
    return any(stop.code is not None for stop in _listening)


_listening: list[Stop] = []
