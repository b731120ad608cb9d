"""Rules that limit a rate: how many items flip, and how far the distributions drift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from llmc.errors import UserError
from llmc.evaluate.stats.intervals import cluster_mean, quantile_interval
from llmc.evaluate.stats.paired import Difference, interval_at, paired_difference
from llmc.evaluate.stats.unseen import room_of
from llmc.evaluate.stats.verdict import CODES, Verdict, decide_limit
from llmc.judging.comparison import Row
from llmc.judging.joined import Joined
from llmc.judging.pairs import TaskPair, divergences
from llmc.judging.plain import Said, not_compared, plain_row
from llmc.judging.policy import Rule
from llmc.judging.rows import Judging
from llmc.judging.subjects import Subject, subjects


def limit_rows(joined: Joined, rule: Rule, judging: Judging, line: int | None) -> list[Row]:
    """The rows of a rule about flips or divergence. Raises `UserError` where it matches nothing: that never passes.

    A rate above its limit is claimed of any of the rows, so that claim is made at a confidence that is shared out
    among them (Bonferroni); a rate within its limit is asked of all rows and needs no correction.
    """
    found = [(s, _measured(joined, s, rule)) for s in subjects(joined, rule)]
    known = [(s, m) for s, m in found if m is not None]
    if not known:
        what = "marks of 0 and 1" if rule.kind == "flips" else "likelihoods"
        raise UserError(
            f'rule "{rule.id}" matches nothing in {joined.other.label} (no {what} stored)',
            hint="a rule that matches nothing never passes: take it out, or evaluate what it asks about",
        )
    rows = []
    for subject, measured in known:
        said = _judge(measured, rule, joined, len(known))
        rows.append(plain_row(rule.id, subject, rule.kind, _asked(rule), said, judging, line))
    return rows


class _Limit(BaseModel):
    """One limited quantity: value, edges at the policy's confidence and at the shared-out one."""

    what: str
    limit: float
    unit: str
    value: float
    low: float | None
    high: float | None
    strict_low: float | None = None


def _measured(joined: Joined, subject: Subject, rule: Rule) -> TaskPair | str | None:
    """The task's pair, the reason why it has none, or None where the rule does not apply to it."""
    if subject.name not in joined.tasks:
        return "only the dense run has it"
    pair = joined.tasks[subject.name]
    if pair.not_compared is not None:
        return pair.not_compared
    if rule.kind == "divergence":
        return pair if divergences(pair) is not None else None
    facts = pair.dense_result.metrics[pair.primary]
    if facts.kind == "statistic":
        return None
    difference = joined.difference(subject.name)
    return pair if difference is not None and difference.gained is not None else None


def _judge(measured: TaskPair | str, rule: Rule, joined: Joined, n_rows: int) -> Said:
    if isinstance(measured, str):
        return not_compared(measured)
    stats = joined.policy.stats
    shared = 1 - (1 - stats.confidence) / (n_rows if stats.multiplicity == "holm" else 1)
    limits = _flips(measured, rule, joined, shared) if rule.kind == "flips" else _drift(measured, rule, joined, shared)
    verdicts = []
    for one in limits:
        verdict = decide_limit(one.low, one.high, one.limit)
        if verdict.code == "lost" and (one.strict_low is None or one.strict_low <= one.limit):
            verdict = Verdict(code="undecided", why="after Holm")
        verdicts.append(verdict)
    worst = min(range(len(limits)), key=lambda i: CODES.index(verdicts[i].code))
    return _limit_words(limits[worst], verdicts[worst])


def _limit_words(one: _Limit, verdict: Verdict) -> Said:
    interval = "no interval" if one.low is None or one.high is None else f"{_num(one.low)} to {_num(one.high)}"
    said = f"{one.what} {_num(one.value)}{one.unit} ({interval})"
    limit = f"{_num(one.limit)}{one.unit}"
    if verdict.code == "kept":
        return Said(verdict, f"PASS. {said}; more than {limit} is ruled out.", said)
    if verdict.code == "lost":
        return Said(verdict, f"FAIL. {said}; that is more than the {limit} allowed.", said)
    return Said(verdict, f"UNDECIDED. {said}: more than {limit} is neither shown nor ruled out.", said)


def _num(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 1 else f"{value:.2g}"


def _flips(pair: TaskPair, rule: Rule, joined: Joined, shared: float) -> list[_Limit]:
    measured = joined.measured(pair.name)
    flipped = (measured.dense_marks != measured.compressed_marks).astype(np.float64)
    confidence = joined.policy.stats.confidence
    limits = []
    if rule.max_rate is not None:
        rate = paired_difference(np.zeros_like(flipped), flipped, measured.clusters, confidence=confidence)
        limits.append(_as_limit("flips", rate, rule.max_rate, shared))
    if rule.over_noise is not None:
        if pair.name not in joined.noise:
            raise UserError(f'rule "{rule.id}": the noise run has no task {pair.name}', hint="evaluate it there too")
        again = joined.noise[pair.name]
        dense, second = again.marks(again.primary)
        ids = [pair.dense.ids[row] for row in pair.dense_rows[measured.usable]]
        both = zip(again.dense_rows, dense, second, strict=True)
        noisy = {again.dense.ids[row]: float(a != b) for row, a, b in both if not np.isnan([a, b]).any()}
        kept = np.asarray([item in noisy for item in ids], dtype=np.bool_)
        noise = np.asarray([noisy[item] for item in ids if item in noisy])
        codes = np.unique(measured.clusters[kept], return_inverse=True)[1].astype(np.int64)
        above = paired_difference(noise, flipped[kept], codes, confidence=confidence)
        limits.append(_as_limit("flips above noise", above, rule.over_noise, shared))
    return limits


def _as_limit(what: str, rate: Difference, limit: float, shared: float) -> _Limit:
    strict, _ = interval_at(rate, shared)
    low, high = (None if edge is None else 100 * edge for edge in (rate.low, rate.high))
    return _Limit(
        what=what,
        limit=100 * limit,
        unit=" %",
        value=100 * rate.value,
        low=low,
        high=high,
        strict_low=None if strict is None else 100 * strict,
    )


def _drift(pair: TaskPair, rule: Rule, joined: Joined, shared: float) -> list[_Limit]:
    found = divergences(pair)
    assert found is not None
    values, over = found
    confidence = joined.policy.stats.confidence
    limits = []
    if rule.max_mean_nats is not None:
        # Items, not clusters: a stored divergence does not say which items share a document.
        mean = cluster_mean(values, np.arange(values.size))
        assert mean is not None
        low, high = _with_room(values, mean.edges(confidence), confidence)
        least, _ = _with_room(values, mean.edges(shared), shared)
        what, limit = f"mean divergence over {over}", rule.max_mean_nats
        limits.append(
            _Limit(what=what, limit=limit, unit=" nats", value=mean.value, low=low, high=high, strict_low=least)
        )
    if rule.max_p99_nats is not None:
        low, high = quantile_interval(values, 0.99, confidence) or (None, None)
        strict = quantile_interval(values, 0.99, shared)
        value = float(np.quantile(values, 0.99))
        what, limit = f"99 % of items diverge over {over} by at most", rule.max_p99_nats
        strict_low = None if strict is None else strict[0]
        limits.append(
            _Limit(what=what, limit=limit, unit=" nats", value=value, low=low, high=high, strict_low=strict_low)
        )
    return limits


def _with_room(
    values: NDArray[np.float64], edges: tuple[float, float] | None, confidence: float
) -> tuple[float | None, float | None]:
    """Student's edges, no nearer than those that leave room for one more item as far off as the farthest seen.

    Divergences are skewed: most are small and a few rule the mean.
    """
    room = room_of(values, np.arange(values.size), None)
    if edges is None or room is None:
        return edges or (None, None)
    return room.low(1 - confidence, edges[0]), room.high(1 - confidence, edges[1])


def _asked(rule: Rule) -> str:
    parts = []
    if rule.max_rate is not None:
        parts.append(f"flips ≤ {100 * rule.max_rate:g} %")
    if rule.over_noise is not None:
        parts.append(f"flips above noise ≤ {100 * rule.over_noise:g} %")
    if rule.max_mean_nats is not None:
        parts.append(f"mean divergence ≤ {rule.max_mean_nats:g} nats")
    if rule.max_p99_nats is not None:
        parts.append(f"99 % quantile of divergence ≤ {rule.max_p99_nats:g} nats")
    return ", ".join(parts)
