"""Budgets: what a compressed model may cost in bytes and must give in speed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmc.errors import UserError
from llmc.evaluate.stats.intervals import cluster_mean
from llmc.evaluate.stats.verdict import CODES, decide_limit
from llmc.evaluate.stats.wording import WORDS
from llmc.judging.comparison import Row
from llmc.judging.joined import Joined
from llmc.judging.plain import Said, not_compared, plain_row
from llmc.judging.policy import Budget
from llmc.judging.rows import Judging
from llmc.reading.json_text import json_object
from llmc.runs.forms import first_fault
from llmc.runs.reader import Run

Edges = tuple[float, float | None, float | None]


class Bench(BaseModel):
    """RUN/bench.json: repeated timings of the model, from `llmc bench`."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)

    machine: str
    metrics: dict[str, list[Annotated[float, Field(ge=0)]]] = Field(description="name to one number a repeat")
    session: str | None = Field(default=None, description="the same for all models of one `llmc bench`")
    kernels: str | None = None
    dtype: str | None = None


def load_bench(run: Run) -> Bench | None:
    """The timings beside a run; None where there are none."""
    path = Path(run.path) / "bench.json"
    if not path.is_file():
        return None
    try:
        return Bench.model_validate(json_object(path))
    except ValidationError as error:
        raise UserError(f"{path} is no record of timings: {first_fault(error, 'the file')}") from None


def comparable_benches(joined: Joined) -> tuple[Bench, Bench] | str:
    """The timings of the dense and the compressed model, or why their ratio would mean nothing.

    A machine's speed drifts by more than what is looked for, so both must have been timed in turns, in one session.
    """
    dense, other = (load_bench(run) for run in (joined.dense, joined.other))
    if dense is None or other is None:
        return "no timings beside both runs (bench.json)"
    if dense.machine != other.machine:
        return f"timed on different machines ({dense.machine}, {other.machine})"
    if dense.session != other.session:
        return "timed in different sessions, and only turns of one `llmc bench` can be compared"
    return dense, other


def budget_row(joined: Joined, budget: Budget, judging: Judging, line: int | None) -> Row:
    """The row of a budget: exact numbers for sizes, an interval of the ratio for timings."""
    said = _budget_verdict(joined, budget)
    return plain_row(budget.id, None, budget.metric, _budget_asked(budget), said, judging, line)


def _budget_asked(budget: Budget) -> str:
    parts = []
    if budget.max_ratio is not None:
        parts.append(f"≤ {budget.max_ratio:g} × dense")
    if budget.min_ratio is not None:
        parts.append(f"≥ {budget.min_ratio:g} × dense")
    if budget.max is not None:
        parts.append(f"≤ {budget.max:,.10g}")
    if budget.min is not None:
        parts.append(f"≥ {budget.min:,.10g}")
    return f"{budget.metric} {', '.join(parts)}"


def _budget_verdict(joined: Joined, budget: Budget) -> Said:
    if budget.metric in ("artifact_bytes", "n_parameters"):
        key = "bytes_on_disk" if budget.metric == "artifact_bytes" else "n_parameters"
        values = [getattr(run.manifest.model, key) for run in (joined.dense, joined.other)]
        if values[0] is None or values[1] is None:
            return not_compared(f"{budget.metric} is not in both manifests")
        ratio = values[1] / values[0]
        said = f"{values[1]:,} is {ratio:.3g} of dense's {values[0]:,}"
        return _within(budget, (ratio, ratio, ratio), (values[1],) * 3, said)
    benches = comparable_benches(joined)
    if isinstance(benches, str):
        return not_compared(benches)
    dense, other = (bench.metrics.get(budget.metric, []) for bench in benches)
    n = min(len(dense), len(other))
    if n < budget.repeats or min([*dense, *other]) <= 0:
        return not_compared(f"{n} of the {budget.repeats} repeats of {budget.metric} asked for")
    edges = ratio_interval(dense[:n], other[:n], joined.policy.stats.confidence)
    mean = cluster_mean(np.asarray(other[:n]), np.arange(n))
    assert mean is not None
    low, high = mean.edges(joined.policy.stats.confidence) or (None, None)
    said = f"{edges[0]:.3g} × dense on geometric average (interval {edges[1]:.3g} to {edges[2]:.3g}) over {n} repeats"
    return _within(budget, edges, (mean.value, low, high), said)


def ratio_interval(dense: list[float], other: list[float], confidence: float) -> tuple[float, float, float]:
    """The geometric mean ratio of repeats taken in turns, with Student's interval of its logarithm."""
    logs = np.log(np.asarray(other)) - np.log(np.asarray(dense))
    mean = cluster_mean(logs, np.arange(logs.size))
    assert mean is not None
    low, high = mean.edges(confidence) or (mean.value, mean.value)
    return math.exp(mean.value), math.exp(low), math.exp(high)


def _within(budget: Budget, ratio: Edges, absolute: Edges, said: str) -> Said:
    verdicts = []
    for limit, (_, low, high), sign in (
        (budget.max_ratio, ratio, 1),
        (budget.min_ratio, ratio, -1),
        (budget.max, absolute, 1),
        (budget.min, absolute, -1),
    ):
        if limit is None:
            continue
        edges = (low, high) if sign > 0 else (None if high is None else -high, None if low is None else -low)
        verdicts.append(decide_limit(edges[0], edges[1], sign * limit))
    worst = min(verdicts, key=lambda verdict: CODES.index(verdict.code))
    ending = {"kept": "inside the budget", "lost": "outside the budget", "undecided": "not settled"}[worst.code]
    return Said(worst, f"{WORDS[worst.code]}. {budget.metric} {said}; {ending} ({_budget_asked(budget)}).", said)
