"""Runs one command line in this process, within bounds of time and memory, and tells how it ended."""

import contextlib
import io
import resource
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from llmc.cli import run

SECONDS = 60
BYTES = 2 * 10**9
LONGEST = 500


class Hang(BaseException):
    """The command took longer than `SECONDS`."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    said: str
    seconds: float
    trace: str = ""

    @property
    def fault(self):
        """What is wrong with this end; None where a person could go on from it."""
        if self.code == 70 or "Traceback" in self.said:
            return "exit 70"
        if self.code == -1:
            return "hang"
        if self.code not in (0, 1, 2, 3, 4):
            return f"exit {self.code}"
        lines = [line for line in self.said.splitlines() if line.startswith("llmc: ")]
        if self.code == 2 and not lines:
            return "no sentence"
        if self.code == 2 and len(self.said[self.said.rindex("llmc: ") :].rstrip()) > LONGEST + len("llmc: "):
            return "a message that is too long"
        return None


def _memory():
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status if line.startswith("VmSize:"))) * 1024


@contextlib.contextmanager
def bounds():
    """An alarm after `SECONDS`, and no more than `BYTES` of new memory: who asks for more gets a MemoryError."""

    def ring(*_):
        raise Hang

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory() + BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def end_of(arguments):
    """How `llmc ARGUMENTS` ended."""
    said = io.StringIO()
    start, argv = time.monotonic(), sys.argv
    try:
        sys.argv = ["llmc", *arguments]
        with bounds(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            code, trace = run(list(arguments)), ""
    except Hang:
        code, trace = -1, traceback.format_exc()
    except BaseException:
        code, trace = 70, traceback.format_exc()
    finally:
        sys.argv = argv
    return Ended(code, said.getvalue(), time.monotonic() - start, trace)
