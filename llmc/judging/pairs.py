"""Two runs joined on item ids: what they share, what they don't, and the marks of the items that can be compared."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmc.errors import NotComparable
from llmc.evaluate.stats.estimate import Estimate, Range
from llmc.evaluate.stats.gaps import upright
from llmc.evaluate.stats.intervals import cluster_mean, share_interval
from llmc.evaluate.stats.paired import Difference, paired_difference
from llmc.evaluate.stats.units import RATIO, Unit
from llmc.evaluate.task import SHARE, Channel
from llmc.judging.policy import CompareSection
from llmc.runs.forms import MetricFacts, TaskResult
from llmc.runs.reader import Run
from llmc.runs.samples import Samples

NATS = "nats_per_token"
"""The mean negative log-likelihood of a token: the logarithm of the perplexity that people read."""
Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


def refuse_different_runs(dense: Run, other: Run, same: Iterable[str]) -> None:
    """Raises `NotComparable`, naming every setting in which the two runs as a whole differ."""
    ours, theirs = dense.manifest, other.manifest
    pairs: dict[str, tuple[object, object]] = {"mode": (ours.mode, theirs.mode)}
    named: dict[str, tuple[object, object]] = {
        "template": (ours.template, theirs.template),
        "tokenizer": (ours.tokenizer_sha256, theirs.tokenizer_sha256),
        "batch_size": (ours.batch_tokens, theirs.batch_tokens),
        # Seeds may differ: two draws of one model are compared on purpose.
        "decoding": (_without_seed(ours.decoding), _without_seed(theirs.decoding)),
    }
    pairs |= {key: value for key, value in named.items() if key in set(same)}
    different = [f"{key} {_short(a)} against {_short(b)}" for key, (a, b) in pairs.items() if a != b]
    if different:
        raise NotComparable(
            f"{other.label} can't be compared with {dense.label}: {'; '.join(different)}",
            hint="evaluate both with the same settings, or take the name out of compare.require_same in the policy",
        )


def refuse_nothing_shared(dense: Run, other: Run, reasons: dict[str, str | None]) -> None:
    """Raises `NotComparable` when not one task of the two runs can be compared."""
    if not reasons:
        raise NotComparable(f"{other.label} and {dense.label} share no task", hint="evaluate both on the same suite")
    if all(reasons.values()):
        task, reason = next(iter(reasons.items()))
        more = f" (and {len(reasons) - 1} more tasks)" if len(reasons) > 1 else ""
        raise NotComparable(
            f"{other.label} can't be compared with {dense.label}: {task}: {reason}{more}",
            hint="evaluate both with the same llmc, items and prompts",
        )


def _without_seed(decoding: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in decoding.items() if key != "seed"}


def _short(value: object) -> str:
    if isinstance(value, str) and len(value) > 16:
        return value[:12] + "…"
    return "none" if value is None else str(value)


@dataclass(frozen=True, kw_only=True)
class Level:
    """One run's mean mark on the items that were compared, in the metric's own direction and unit."""

    value: float
    low: float | None
    high: float | None

    def turned(self, facts: MetricFacts) -> Level:
        """As a share of which higher is better."""
        value, low, high = (None if each is None else each / (facts.share or 1.0) for each in astuple(self))
        if facts.direction == "lower":
            value, low, high = (None if each is None else 1 - each for each in (value, high, low))
        assert value is not None
        return Level(value=value, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class TaskPair:
    """One task of a dense and a compressed run, joined on item ids."""

    name: str
    dense: Samples
    other: Samples
    dense_result: TaskResult
    other_result: TaskResult
    dense_rows: Rows
    """Rows of the items that both runs have, in the dense run's order."""
    other_rows: Rows
    not_compared: str | None
    """Why this task can't be compared; None when it can."""

    @property
    def suite(self) -> str:
        """The suite it belongs to."""
        return self.dense_result.suite

    @property
    def dimension(self) -> str | None:
        """The trust dimension it belongs to."""
        return self.dense_result.dimension

    @property
    def primary(self) -> str:
        """The metric that speaks for it."""
        return self.dense_result.primary

    @property
    def n_paired(self) -> int:
        """Items that both runs have."""
        return self.dense_rows.size

    @property
    def n_only_dense(self) -> int:
        """Items that only the dense run has."""
        return len(self.dense.ids) - self.n_paired

    @property
    def n_only_other(self) -> int:
        """Items that only the compressed run has."""
        return len(self.other.ids) - self.n_paired

    @cached_property
    def clusters(self) -> Rows:
        """Cluster codes of the paired items."""
        names = np.asarray([self.dense.clusters[row] for row in self.dense_rows], dtype=object)
        return np.unique(names, return_inverse=True)[1].astype(np.int64) if names.size else self.dense_rows

    @cached_property
    def channel(self) -> Channel:
        """What the marks of the primary metric rest on; a run of before llmc wrote it tells by what it asked."""
        declared = self.dense_result.metrics[self.primary].channel
        if declared is not None:
            return declared
        if self.primary in (NATS, "bits_per_byte"):
            return "perplexity"
        chosen = bool((self.dense.choices >= 0).any())
        asks_options_only = chosen and not self.dense.generated.any()
        return "likelihood" if asks_options_only or (chosen and self.primary.endswith("_choice")) else "text"

    @cached_property
    def changed(self) -> NDArray[np.bool_]:
        """Which paired items have another answer: another option chosen, where options compete, else another text."""
        column = "choices" if self.channel == "likelihood" else "answers"
        left, right = getattr(self.dense, column), getattr(self.other, column)
        found: NDArray[np.bool_] = left[self.dense_rows] != right[self.other_rows]
        return found

    def called(self, name: str) -> str:
        """A metric's name among the marks: `primary` is the task's own, a perplexity is paired by its logarithm."""
        name = self.primary if name == "primary" else name
        return NATS if name == "perplexity" and NATS in self.dense_result.metrics else name

    def metric(self, name: str) -> MetricFacts | None:
        """How to read a metric (`primary` stands for the task's own); None when the task has none of that name."""
        return self.dense_result.metrics.get(self.called(name))

    def marks(self, metric: str) -> tuple[Floats, Floats]:
        """Dense and compressed marks of the paired items; NaN where an item could not be marked."""
        empty = np.full(self.n_paired, math.nan)
        dense, other = self.dense.marks.get(metric), self.other.marks.get(metric)
        return (
            empty if dense is None else dense[self.dense_rows],
            empty if other is None else other[self.other_rows],
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric of a task on both runs: levels, the difference turned so that higher is better, and its unit."""

    difference: Difference | None
    dense: Level | None
    compressed: Level | None
    unit: Unit
    """`points`, `% of dense` for marks that are no shares, `× dense` for a perplexity."""
    scale: float
    """What a mark is divided by: to become a share, or a part of dense's mean; 1 for nats."""
    usable: NDArray[np.bool_]
    """Which paired items have a mark in both runs."""
    clusters: Rows
    """Cluster codes 0..G-1 of the usable items."""
    n_unscored: int
    """Items that only one run could be marked on."""
    dense_marks: Floats
    """Turned marks of the usable items; binary ones stay 0 and 1."""
    compressed_marks: Floats


def measure(pair: TaskPair, metric: str, confidence: float) -> Measured:
    """The difference of one metric over the items that both runs could be marked on."""
    name = pair.called(metric)
    facts = pair.dense_result.metrics[name]
    dense, other = pair.marks(name)
    has_dense, has_other = ~np.isnan(dense), ~np.isnan(other)
    usable = has_dense & has_other
    dense, other = dense[usable], other[usable]
    if facts.kind == "gap":
        settings = [pair.dense.strata[row] for row in pair.dense_rows[usable]]
        dense, other = upright(dense, settings), upright(other, settings)
    clusters = np.unique(pair.clusters[usable], return_inverse=True)[1].astype(np.int64)
    possible = facts.possible
    levels = (_level(dense, clusters, confidence, possible), _level(other, clusters, confidence, possible))
    counted = None if name == NATS else share_scale(facts, np.concatenate([dense, other]))
    unit: Unit = RATIO if name == NATS else "% of dense" if counted is None else "points"
    scale = counted or (abs(float(dense.mean())) if dense.size and unit != RATIO else 0.0) or 1.0
    turned = [_turned(marks / scale, facts, counted) for marks in (dense, other)]
    largest = None if facts.largest_change is None else facts.largest_change / scale
    found = None
    if dense.size:
        # A gap's mark is twice a share, with the sign of its group.
        reach = 2 * largest if largest is not None and facts.kind == "gap" else largest
        found = paired_difference(turned[0], turned[1], clusters, confidence=confidence, largest=largest, reach=reach)
    return Measured(
        difference=found,
        dense=levels[0],
        compressed=levels[1],
        unit=unit,
        scale=scale,
        usable=usable,
        clusters=clusters,
        n_unscored=int((has_dense ^ has_other).sum()),
        dense_marks=turned[0],
        compressed_marks=turned[1],
    )


def share_scale(facts: MetricFacts, values: Floats) -> float | None:
    """What values of a metric are divided by to become shares, of which a hundredth is a point; None for no shares.

    Where a run doesn't say what values its metric can have (runs of before that was written, metrics of lm-eval tasks
    that llmc doesn't know), values that all lie in [0, 1] pass for shares.
    """
    if facts.share is not None or facts.possible != (None, None):
        return facts.share
    return 1.0 if not values.size or (values.min() >= 0 and values.max() <= 1) else None


def _turned(scaled: Floats, facts: MetricFacts, counted: float | None) -> Floats:
    """Scaled marks so that higher is better: shares stay shares."""
    if facts.direction == "higher":
        return scaled
    return -scaled if counted is None else 1.0 - scaled


def _level(marks: Floats, clusters: Rows, confidence: float, possible: Range) -> Level | None:
    mean = cluster_mean(marks, clusters)
    if mean is None:
        return None
    student = mean.edges(confidence)
    if student is None:
        return Level(value=mean.value, low=None, high=None)
    if np.isin(marks, (0.0, 1.0)).all():
        wilson = share_interval(int(marks.sum()), marks.size, confidence)
        student = min(student[0], wilson[0]), max(student[1], wilson[1])
        possible = SHARE
    low, high = Estimate(mean.value, ci95=student).within(possible).ci95 or student
    return Level(value=mean.value, low=low, high=high)


def pair_task(dense: Run, other: Run, name: str, policy: CompareSection) -> TaskPair:
    """One task of two runs joined on item ids, or the reason why it can't be."""
    left, right = dense.samples(name), other.samples(name)
    shared = [row for row, item in enumerate(left.ids) if item in right.rows]
    dense_rows = np.asarray(shared, dtype=np.int64)
    other_rows = np.asarray([right.rows[left.ids[row]] for row in shared], dtype=np.int64)
    pair = TaskPair(
        name=name,
        dense=left,
        other=right,
        dense_result=dense.results.tasks[name],
        other_result=other.results.tasks[name],
        dense_rows=dense_rows,
        other_rows=other_rows,
        not_compared=None,
    )
    reason = _facts_differ(dense, other, name, policy) or _items_differ(pair, policy)
    return replace(pair, not_compared=reason)


def _facts_differ(dense: Run, other: Run, name: str, policy: CompareSection) -> str | None:
    ours, theirs = dense.manifest.tasks[name], other.manifest.tasks[name]
    if ours.version != theirs.version:
        return f"version {ours.version} of the task against version {theirs.version}"
    if "scorer" in policy.require_same and ours.scorer != theirs.scorer:
        return f"scorer {_short(ours.scorer)} against {_short(theirs.scorer)}"
    if (ours.mode or dense.manifest.mode) != (theirs.mode or other.manifest.mode):
        return f"mode {ours.mode} against {theirs.mode}"
    primaries = dense.results.tasks[name].primary, other.results.tasks[name].primary
    if primaries[0] != primaries[1]:
        return f"metric {primaries[0]} against {primaries[1]}"
    return None


def _items_differ(pair: TaskPair, policy: CompareSection) -> str | None:
    n = pair.n_paired
    all_items = n + pair.n_only_dense + pair.n_only_other
    if all_items == 0:
        return "it has no items"
    if n == 0 or ("items" in policy.require_same and n / all_items < policy.min_paired):
        return (
            f"only {n:,} of {all_items:,} items are in both runs "
            f"({pair.n_only_dense:,} only in dense, {pair.n_only_other:,} only in compressed)"
        )
    if "prompts" in policy.require_same:
        ours = [pair.dense.prompts[row] for row in pair.dense_rows]
        theirs = [pair.other.prompts[row] for row in pair.other_rows]
        different = sum(a != b for a, b in zip(ours, theirs, strict=True))
        if different:
            return f"{different:,} of {n:,} items have a different prompt hash"
    return None


def divergences(pair: TaskPair) -> tuple[Floats, str] | None:
    """The divergence of compressed from dense on each paired item, in nats, and over what; None where unknown.

    The evaluation's own where it stored one, else over the answer options from both runs' log-likelihoods:
    sum p log(p / q) with p dense's.
    """
    stored = pair.other.kl[pair.other_rows]
    if np.isfinite(stored).any():
        return stored[np.isfinite(stored)], "next-token distribution"
    by_length: dict[int, list[tuple[tuple[float, ...], tuple[float, ...]]]] = {}
    for left, right in zip(pair.dense_rows.tolist(), pair.other_rows.tolist(), strict=True):
        a, b = pair.dense.loglikelihoods[left], pair.other.loglikelihoods[right]
        if a is not None and b is not None and len(a) == len(b) > 1:
            by_length.setdefault(len(a), []).append((a, b))
    if not by_length:
        return None
    found = []
    for couples in by_length.values():
        both = np.asarray(couples, dtype=np.float64)  # (items, 2, options)
        both = both - both.max(axis=2, keepdims=True)
        log_shares = both - np.log(np.exp(both).sum(axis=2, keepdims=True))
        found.append((np.exp(log_shares[:, 0]) * (log_shares[:, 0] - log_shares[:, 1])).sum(axis=1))
    return np.concatenate(found), "answer options"
