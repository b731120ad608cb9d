"""A model in a process of its own, for a bench: its memory is its own, and a crash takes nothing else along."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from llmc.errors import UserError
from llmc.evaluate.speed.speed import Pass, SpeedSettings, check_room, measure
from llmc.models.load import load_model, quiet
from llmc.models.memory import tensor_bytes
from llmc.models.packed import Kernels
from llmc.offline import network


@dataclass(frozen=True, kw_only=True)
class Held:
    """A model in memory."""

    load_s: float
    """From the files, which the system may have cached, to a model that can answer."""
    resident_bytes: int
    """Of all its parameters and buffers, each storage once."""
    process_bytes: int | None
    """Resident size of its process after loading, Python and libraries included; None where the system doesn't say."""
    dtype: str
    notes: tuple[str, ...]
    """What loading warned of."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One model of a bench and how it is to run."""

    directory: Path
    device: str
    dtype: str
    kernels: Kernels
    n_threads: int | None
    """None: torch's own choice."""


class Measured:
    """The model's side of a bench, in whatever process it is made."""

    def __init__(self, subject: Subject, settings: SpeedSettings) -> None:
        self.subject, self.settings = subject, settings
        self.model: Any = None
        if subject.n_threads is not None:
            torch.set_num_threads(subject.n_threads)
        quiet()

    def load(self) -> Held:
        """Loads the model, for the second time after dropping it, and lets it run once."""
        self.model = None
        gc.collect()
        heard = _Heard()
        logging.getLogger("llmc").addHandler(heard)
        start = time.perf_counter()
        dtype: torch.dtype = getattr(torch, self.subject.dtype)
        self.model = load_model(
            self.subject.directory, dtype=dtype, device=self.subject.device, kernels=self.subject.kernels
        )
        load_s = time.perf_counter() - start
        logging.getLogger("llmc").removeHandler(heard)
        check_room(self.model, self.settings, self.subject.directory)
        held = Held(
            load_s=load_s,
            resident_bytes=tensor_bytes(self.model),
            process_bytes=process_bytes(),
            dtype=str(self.model.dtype).removeprefix("torch."),
            notes=tuple(heard.said),
        )
        short = SpeedSettings(prompt_tokens=min(8, self.settings.prompt_tokens), new_tokens=1)
        for batch in self.settings.batches:
            measure(self.model, batch, short)
        return held

    def run(self, batch: int) -> Pass:
        """One measured pass."""
        return measure(self.model, batch, self.settings)


class ModelProcess:
    """`Measured` in a process of its own; use it as a context manager."""

    def __init__(self, subject: Subject, settings: SpeedSettings) -> None:
        self.subject = subject
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, subject, settings), daemon=True)
        self._process.start()
        there.close()

    def __enter__(self) -> ModelProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._here.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()

    def load(self) -> Held:
        """Load the model, again if it is there."""
        found: Held = self._ask("load")
        return found

    def run(self, batch: int) -> Pass:
        """One measured pass."""
        found: Pass = self._ask("run", batch)
        return found

    def _ask(self, what: str, *arguments: object) -> Any:
        try:
            self._here.send((what, arguments))
            found = self._here.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join(timeout=5)
            raise UserError(
                f"the process that held {self.subject.directory} ended with code {self._process.exitcode}",
                hint="if memory ran out, bench fewer or smaller models at a time, or smaller batches",
            ) from None
        if isinstance(found, BaseException):
            raise found
        return found


def _serve(there: Connection, subject: Subject, settings: SpeedSettings) -> None:
    """Answers requests until the other side closes."""
    try:
        with network(allowed=False):
            measured = Measured(subject, settings)
            while True:
                what, arguments = there.recv()
                try:
                    there.send(getattr(measured, what)(*arguments))
                except (UserError, RuntimeError, MemoryError) as error:
                    there.send(error)
    except (EOFError, KeyboardInterrupt):
        return


class _Heard(logging.Handler):
    """Keeps warnings, for the table."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def process_bytes() -> int | None:
    """The resident size of this process; None where /proc doesn't tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.splitlines() if line.startswith("VmRSS:")), None)
    return None if line is None else int(line.split()[1]) * 1024
