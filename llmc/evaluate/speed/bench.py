"""Several models timed in turn, the first of them the one that the others are held against."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from llmc.evaluate.provenance import packages
from llmc.evaluate.speed.speed import Pass, SpeedSettings
from llmc.evaluate.speed.speed_process import Held, ModelProcess, Subject
from llmc.evaluate.speed.turns import ratio_by_turn, spread
from llmc.models.checkpoint import Checkpoint

SCHEMA = 1
Report = Callable[[int, int, str], None]


@dataclass
class _Turns:
    """What one model has given so far: a list a metric, an entry a turn."""

    held: Held | None = None
    metrics: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float | None) -> None:
        if value is not None:
            self.metrics.setdefault(name, []).append(value)


def bench(
    subjects: Sequence[Subject], settings: SpeedSettings, report: Report, open_model: Callable[..., Any] = ModelProcess
) -> dict[str, Any]:
    """The timings of all models as JSON takes them; `open_model` makes a context that loads and runs a subject.

    In each turn every model is loaded and measured at every batch size, and each turn begins with another model: so
    what drifts on the machine meets all of them alike.
    """
    turns = [_Turns() for _ in subjects]
    n_steps = settings.repeats * len(subjects) * (1 + len(settings.batches))
    done = 0
    with ExitStack() as stack:
        models = [stack.enter_context(open_model(subject, settings)) for subject in subjects]
        for turn in range(settings.repeats):
            order = [(turn + i) % len(subjects) for i in range(len(subjects))]
            for i in order:
                report(done, n_steps, f"load {subjects[i].directory.name}")
                held = models[i].load()
                turns[i].held = held
                turns[i].add("load_s", held.load_s)
                turns[i].add("resident_bytes", float(held.resident_bytes))
                turns[i].add("process_bytes", None if turn or held.process_bytes is None else float(held.process_bytes))
                done += 1
            for batch in settings.batches:
                for i in order:
                    report(done, n_steps, f"{subjects[i].directory.name}, batch {batch}")
                    _add_pass(turns[i], models[i].run(batch), batch, settings)
                    done += 1
    report(n_steps, n_steps, "done")
    return {
        "schema": SCHEMA,
        "session": uuid.uuid4().hex,
        "machine": machine(subjects[0]),
        "settings": {**asdict(settings), "batches": list(settings.batches)},
        "packages": packages(),
        "models": [_model(subject, mine, turns[0]) for subject, mine in zip(subjects, turns, strict=True)],
    }


def _add_pass(turns: _Turns, found: Pass, batch: int, settings: SpeedSettings) -> None:
    for name, value in asdict(found).items():
        turns.add(f"{name}_batch_{batch}", value)
        if batch == settings.batches[0]:  # what budgets are about
            turns.add(name, value)


def _model(subject: Subject, turns: _Turns, first: _Turns) -> dict[str, Any]:
    assert turns.held is not None
    return {
        "path": str(subject.directory),
        "label": subject.directory.resolve().name,
        "kernels": subject.kernels,
        "dtype": turns.held.dtype,
        "bytes_on_disk": Checkpoint(subject.directory).n_bytes,
        "notes": list(turns.held.notes),
        "metrics": turns.metrics,
        "summary": {
            name: _summary(values, first.metrics[name])
            for name, values in turns.metrics.items()
            if name in first.metrics
        },
    }


def _summary(values: Sequence[float], dense: Sequence[float]) -> dict[str, float]:
    """Median and range, and the same of the ratio to the first model turn by turn."""
    ratio = ratio_by_turn(values, dense)
    of_ratio = {"ratio": ratio.median, "ratio_least": ratio.least, "ratio_most": ratio.most}
    return {**spread(values)._asdict(), **of_ratio}


def run_record(result: dict[str, Any], i: int) -> dict[str, Any]:
    """RUN/bench.json of the i-th model: what budgets and the report read, and where it comes from."""
    one = result["models"][i]
    shared = {key: result[key] for key in ("schema", "session", "machine", "settings", "packages")}
    return {**shared, **{key: one[key] for key in ("path", "kernels", "dtype", "notes", "metrics")}}


def machine(subject: Subject) -> str:
    """What timings depend on, in words: equal words, comparable timings."""
    threads = subject.n_threads or torch.get_num_threads()
    if subject.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(subject.device)}, {_processor()}, {threads} threads"
    device = "" if subject.device == "cpu" else f"{subject.device}, "
    return f"{device}{_processor()}, {threads} thread{'s' if threads > 1 else ''}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    return named or platform.processor() or platform.machine()
