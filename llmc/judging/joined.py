"""A dense and a compressed run joined task by task, with what the verdicts of all rows rest on worked out once."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import stats

from llmc.evaluate.collapse import AnswerState, collapse_reason
from llmc.evaluate.stats.paired import Difference, paired_difference
from llmc.evaluate.stats.units import RATIO, Unit
from llmc.judging.pairs import (
    Level,
    Measured,
    TaskPair,
    measure,
    pair_task,
    refuse_different_runs,
    refuse_nothing_shared,
    share_scale,
)
from llmc.judging.policy import Policy
from llmc.runs.forms import MetricFacts, TaskResult
from llmc.runs.reader import Run

_SHORT = 4
"""An answer of less than a quarter of dense's length counts as silence in the trust suite …"""
_LONG_ENOUGH = 20
"""… where dense's has at least this many characters."""


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Everything about one compressed run against dense."""

    dense: Run
    other: Run
    policy: Policy
    tasks: dict[str, TaskPair]
    """Tasks that both runs have, compared or not."""
    missing: list[str]
    extra: list[str]
    noise: dict[str, TaskPair]
    """Dense against dense, where the policy names a noise run."""
    _measured: dict[tuple[str, str], Measured] = field(default_factory=dict, repr=False)
    drawn: dict[tuple[str, str], tuple[float, float] | None] = field(default_factory=dict, repr=False)
    """Bootstrap intervals by task and metric, drawn once."""
    flipped: dict[tuple[str, str], float | None] = field(default_factory=dict, repr=False)
    """Sign-flip p-values by task and metric, drawn once."""

    def measured(self, task: str, metric: str = "primary") -> Measured:
        """The difference of one task's metric, worked out once."""
        key = (task, metric)
        if key not in self._measured:
            self._measured[key] = measure(self.tasks[task], metric, self.policy.stats.confidence)
        return self._measured[key]

    def difference(self, task: str, metric: str = "primary") -> Difference | None:
        """The task's difference: paired where the metric is a mean of items, else from both runs' own errors."""
        pair = self.tasks[task]
        facts = pair.metric(metric)
        if facts is None:
            return None
        if facts.kind != "statistic":
            return self.measured(task, metric).difference
        other = pair.other_result.metrics.get(pair.called(metric))
        unit = self.unit(task, metric)
        return _unpaired(facts, other, pair.n_paired, self.policy.stats.confidence, unit)

    def without_silence(self, task: str, metric: str = "primary") -> tuple[Difference | None, str | None]:
        """The difference when gains on items that fell silent count as no change, and what the silence is."""
        pair = self.tasks[task]
        facts = pair.metric(metric)
        if facts is None or facts.kind == "statistic":
            return None, None
        found = self.measured(task, metric)
        if found.difference is None:
            return None, None
        quiet, words = _fell_silent(pair)
        gained = found.compressed_marks > found.dense_marks
        quiet = quiet[found.usable] & gained
        if not quiet.any():
            return found.difference, None
        compressed = np.where(quiet, found.dense_marks, found.compressed_marks)
        confidence = self.policy.stats.confidence
        return paired_difference(found.dense_marks, compressed, found.clusters, confidence=confidence), words

    def unit(self, task: str, metric: str = "primary") -> Unit:
        """What the task's difference is shown in: points of a share, percent of dense's value, or its multiple."""
        pair = self.tasks[task]
        facts = pair.metric(metric)
        if facts is None or facts.kind != "statistic":
            return self.measured(task, metric).unit
        name = pair.called(metric)
        other = pair.other_result.metrics.get(name, facts)
        # As lm-eval's word_perplexity: the mean of no marks.
        if name.rpartition("_")[2] == "perplexity" and facts.direction == "lower":
            return RATIO if all((each.value or 0.0) > 0 for each in (facts, other)) else "% of dense"
        return "% of dense" if _statistic_share(facts, other) is None else "points"

    @cached_property
    def collapses(self) -> dict[str, str]:
        """Task to the reason why the compressed model's answers to it are none."""
        found = {}
        for name, pair in self.tasks.items():
            if pair.not_compared is None and (reason := self._collapse(pair)) is not None:
                found[name] = reason
        return found

    @property
    def broken(self) -> bool:
        """The model collapsed on at least half of the tasks that were compared."""
        n_compared = sum(pair.not_compared is None for pair in self.tasks.values())
        return bool(self.collapses) and 2 * len(self.collapses) >= n_compared

    def _collapse(self, pair: TaskPair) -> str | None:
        facts = pair.metric("primary")
        assert facts is not None
        levels: tuple[Level | None, Level | None] = (None, None)
        if facts.kind != "statistic":
            found = self.measured(pair.name)
            levels = found.dense, found.compressed
        states = [
            _state(pair, result, level, facts, not_finite=samples.not_finite > 0)
            for result, level, samples in (
                (pair.dense_result, levels[0], pair.dense),
                (pair.other_result, levels[1], pair.other),
            )
        ]
        chance = facts.chance
        if chance is not None and facts.direction == "lower":
            chance = 1 - chance if 0 <= chance <= 1 else None
        limits = replace(self.policy.collapse.limits(), min_items=self.policy.stats.min_items)
        return collapse_reason(states[0], states[1], chance, limits)


def join(dense: Run, other: Run, policy: Policy, noise: Run | None = None) -> Joined:
    """Joins two runs; raises `NotComparable` when they differ as a whole or share nothing that can be compared."""
    refuse_different_runs(dense, other, policy.compare.require_same)
    shared = [name for name in dense.results.tasks if name in other.results.tasks]
    tasks = {name: pair_task(dense, other, name, policy.compare) for name in shared}
    refuse_nothing_shared(dense, other, {name: pair.not_compared for name, pair in tasks.items()})
    again: dict[str, TaskPair] = {}
    if noise is not None:
        refuse_different_runs(dense, noise, policy.compare.require_same)
        again = {name: pair_task(dense, noise, name, policy.compare) for name in shared if name in noise.results.tasks}
    return Joined(
        dense=dense,
        other=other,
        policy=policy,
        tasks=tasks,
        missing=[name for name in dense.results.tasks if name not in other.results.tasks],
        extra=[name for name in other.results.tasks if name not in dense.results.tasks],
        noise={name: pair for name, pair in again.items() if pair.not_compared is None},
    )


def _state(
    pair: TaskPair, result: TaskResult, level: Level | None, facts: MetricFacts, *, not_finite: bool
) -> AnswerState:
    value, low, high = (None, None, None) if level is None else astuple(level.turned(facts))
    perplexity = next((m.ci95 for name, m in result.metrics.items() if "perplexity" in name and m.ci95), None)
    panel = result.panel
    return AnswerState(
        n=pair.n_paired,
        n_groups=np.unique(pair.clusters).size,
        low=low,
        value=value,
        high=high,
        empty=panel.empty,
        unparsed=panel.unparsed,
        repetitive=panel.repetitive,
        options=result.options,
        perplexity=perplexity,
        not_finite=not_finite,
        marked_collapsed=result.collapsed,
    )


def _fell_silent(pair: TaskPair) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], str]:
    """Which paired items the compressed model newly refused, left empty or unreadable; and the commonest of these."""
    words = {
        "refused": "more refusals",
        "empty": "more empty answers",
        "unparsed": "more answers that could not be read",
    }
    quiet = np.zeros(pair.n_paired, dtype=np.bool_)
    counts: dict[str, int] = {}
    for flag, said in words.items():
        new = pair.other.flags[flag][pair.other_rows] & ~pair.dense.flags[flag][pair.dense_rows]
        counts[said] = int(new.sum())
        quiet |= new
    if pair.suite == "trust":
        before, after = pair.dense.n_chars[pair.dense_rows], pair.other.n_chars[pair.other_rows]
        generated = pair.other.generated[pair.other_rows]
        short = generated & (before >= _LONG_ENOUGH) & (_SHORT * after < before)
        counts["shorter answers"] = int((short & ~quiet).sum())
        quiet |= short
    return quiet, max(counts, key=lambda said: counts[said])


def _statistic_share(dense: MetricFacts, other: MetricFacts) -> float | None:
    """What both runs' statistic is divided by to become a share; None where it is none."""
    values = [facts.value for facts in (dense, other) if facts.value is not None]
    return share_scale(dense, np.asarray(values, dtype=np.float64))


def _unpaired(
    dense: MetricFacts, other: MetricFacts | None, n: int, confidence: float, unit: Unit
) -> Difference | None:
    """A difference of statistics that are no means of items: wider than a paired one, as both errors add up.

    Of perplexities it is the logarithm of their ratio, whose error is that of a quotient (delta method).
    """
    if other is None or dense.value is None or other.value is None:
        return None
    sign = 1.0 if dense.direction == "higher" else -1.0
    if unit == RATIO:
        scale, value = 1.0, math.log(dense.value / other.value)
        errors = [None if each.stderr is None else each.stderr / (each.value or 1.0) for each in (dense, other)]
    else:
        scale = _statistic_share(dense, other) or abs(dense.value) or 1.0
        value, errors = sign * (other.value - dense.value) / scale, [dense.stderr, other.stderr]
    low = high = stderr = None
    if errors[0] is not None and errors[1] is not None and errors[0] + errors[1] > 0:
        stderr = math.hypot(errors[0], errors[1]) / scale
        half = float(stats.norm.ppf(0.5 + confidence / 2)) * stderr
        low, high = value - half, value + half
    largest = None if dense.largest_change is None or unit == RATIO else dense.largest_change / scale
    return Difference(
        value=value,
        low=low,
        high=high,
        confidence=confidence,
        n=n,
        n_clusters=n,
        route="unpaired",
        stderr=stderr,
        largest=largest,
    )
