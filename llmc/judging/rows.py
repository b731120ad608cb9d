"""Rows of a comparison: the evidence on each subject settled once, in numbers and words."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmc.evaluate.stats.bootstrap import bootstrap_means, generator_of
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.stats.intervals import cluster_sums
from llmc.evaluate.stats.mcnemar import mcnemar_mid_p, sign_flip_p
from llmc.evaluate.stats.paired import Difference
from llmc.evaluate.stats.units import RATIO, shown, shown_edges
from llmc.evaluate.stats.verdict import CODES, Verdict, settle
from llmc.evaluate.stats.wording import ORDER, Word, counts, estimate, points, sentence, too_little, word_of
from llmc.judging.comparison import Change, Outcome, Row, Score
from llmc.judging.joined import Joined
from llmc.judging.policy import Rule, Tolerance, Waiver
from llmc.judging.policy_file import PolicyFile
from llmc.judging.subjects import Asked, Found, Subject, asked_of, gather, subjects
from llmc.runs.forms import MetricFacts

_WORST = 5


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What turns verdicts into outcomes."""

    file: PolicyFile
    today: datetime.date

    def outcome(self, word: Word, *, allowed: bool) -> Outcome:
        """What the exit code makes of a check's word. `allowed`: its own rule lets an undecided change pass."""
        decide = self.file.policy.decide
        by_word: dict[Word, Outcome] = {
            "PASS": "pass",
            "FAIL": "fail",
            "COLLAPSED": "fail" if decide.collapsed == "fail" else "pass",
            "NOT COMPARED": "error" if decide.missing == "error" else "pass",
            "UNDECIDED": "pass" if allowed or decide.undecided == "pass" else "undecided",
        }
        return by_word[word]

    def waiver(self, rule: str, level: str, name: str) -> tuple[Waiver | None, str | None]:
        """The waiver that excuses a row, and a note on one that no longer does."""
        for waiver in self.file.policy.waiver:
            if waiver.rule == rule and waiver.names(level, name):
                if waiver.expires >= self.today:
                    return waiver, None
                return None, f"waiver {rule}/{name} expired {waiver.expires}: ignored"
        return None, None

    def excuse(self, row: Row) -> Row:
        """The row with its waiver, where it needs one and has one."""
        if row.outcome == "pass":
            return row
        waiver, note = self.waiver(row.rule, row.level, row.name)
        if waiver is not None:
            until = f"waived until {waiver.expires}: {waiver.reason}"
            return row.model_copy(update={"outcome": "waived", "waiver": until})
        return row if note is None else row.model_copy(update={"notes": [*row.notes, note]})


def difference_rows(
    joined: Joined,
    rule: Rule,
    judging: Judging,
    *,
    ask: Callable[[Subject], Asked] | None = None,
    line: int | None = None,
    error_place: str | None = None,
) -> list[Row]:
    """The rows of a rule about differences; `ask` overrides the rule's own tolerances, subject by subject."""
    tolerance = rule.tolerance
    assert tolerance is not None
    asked = [(s, ask(s) if ask is not None else asked_of(s, tolerance, rule.override)) for s in subjects(joined, rule)]
    found = [gather(joined, s, a, rule, error_place=error_place) for s, a in asked]
    verdicts = settle([f.evidence for f in found], joined.policy.stats.limits())
    rows = []
    for one, (_, wanted), verdict in zip(found, asked, verdicts, strict=True):
        d = one.evidence.difference
        lower = d is not None and d.high is not None and d.high <= 0
        word = word_of(verdict.code, rule.passing(), lower=lower)
        row = _row(joined, one, wanted.tolerance, verdict, rule, word)
        outcome = judging.outcome(word, allowed=verdict.code in rule.passing())
        rows.append(judging.excuse(row.model_copy(update={"outcome": outcome, "line": line})))
    return rows


def _row(joined: Joined, found: Found, tolerance: Tolerance, verdict: Verdict, rule: Rule, word: Word) -> Row:
    subject, evidence = found.subject, found.evidence
    margin = evidence.margin
    asked = f"loss ≤ {tolerance.words()}"
    if margin is not None and margin > 0 and tolerance.points is None:
        asked += f" ({points(margin, found.unit)})"
    metric = rule.metric
    if subject.level == "task" and metric == "primary":
        metric = joined.dense.results.tasks[subject.name].primary
    # Both names of one thing: what is paired in nats is told as the perplexity that it is the logarithm of.
    metric = "perplexity" if metric == "nats_per_token" else metric
    dense, compressed = _scores(joined, subject, rule.metric) if evidence.not_compared is None else (None, None)
    limits = joined.policy.stats.limits()
    return Row(
        rule=rule.id,
        level=subject.level,
        name=subject.name,
        suite=subject.suite,
        dimension=subject.dimension,
        tasks=list(subject.tasks),
        metric=metric,
        unit=found.unit,
        asked=asked,
        tolerance=None if margin is None else shown(-margin, found.unit) if found.unit == RATIO else 100 * margin,
        dense=dense,
        compressed=compressed,
        change=None if evidence.difference is None else _change(joined, found, evidence.difference, verdict, rule),
        code=verdict.code,
        word=word,
        why=verdict.why,
        sentence=sentence(evidence, verdict, limits, found.unit, word),
        found=_found_words(joined, found, verdict, (dense, compressed)),
        notes=list(found.notes) + _route_notes(evidence.difference),
        outcome="pass",
        waiver=None,
        line=None,
        worst_items=_worst(joined, subject) if evidence.not_compared is None else [],
        min_items=limits.min_items if evidence.min_items is None else evidence.min_items,
    )


def _found_words(joined: Joined, found: Found, verdict: Verdict, levels: tuple[Score | None, Score | None]) -> str:
    evidence = found.evidence
    if verdict.code == "collapsed":
        return evidence.collapse or "collapsed"
    if verdict.code == "not-compared" or evidence.difference is None:
        return evidence.not_compared or "nothing to compare"
    words = [estimate(evidence.difference, evidence.margin, found.unit)]
    if found.unit == RATIO and levels[0] is not None and levels[1] is not None:
        words.append(f"{levels[0].value:.4g} → {levels[1].value:.4g}")
    words.append(counts(evidence.difference).rstrip("."))
    # Else an interval well inside what is allowed, and "undecided" beside it, would contradict each other.
    words += [why] if (why := too_little(evidence, verdict, joined.policy.stats.limits())) else []
    return "; ".join(words)


def _route_notes(difference: Difference | None) -> list[str]:
    if difference is None or difference.route != "unpaired":
        return []
    return ["not a mean of items: the interval adds both runs' own errors and is wider than a paired one"]


def _scores(joined: Joined, subject: Subject, metric: str) -> tuple[Score | None, Score | None]:
    """Both runs' levels: a task's on the compared items, a dimension's as the evaluation published it."""
    if subject.level == "dimension":
        both = [run.results.dimensions.get(subject.name) for run in (joined.dense, joined.other)]
        known = [None if d is None or d.score is None else Score(value=d.score, low=None, high=None) for d in both]
        return known[0], known[1]
    if subject.level == "suite":
        return None, None
    pair = joined.tasks[subject.name]
    facts = pair.metric(metric)
    if facts is None:
        return None, None
    if facts.kind == "statistic":
        name = pair.primary if metric == "primary" else metric
        values = [r.metrics[name] for r in (pair.dense_result, pair.other_result) if name in r.metrics]
        scores = [_score(m) for m in values]
        return (scores[0], scores[1]) if len(scores) == 2 else (None, None)
    measured = joined.measured(subject.name, metric)
    # A perplexity is kept in nats, its logarithm, and shown as itself.
    told = _exp if measured.unit == RATIO else float
    levels = [
        None
        if level is None
        else Score(
            value=told(level.value),
            low=None if level.low is None else told(level.low),
            high=None if level.high is None else told(level.high),
        )
        for level in (measured.dense, measured.compressed)
    ]
    return levels[0], levels[1]


def _exp(nats: float) -> float:
    return shown(-nats, RATIO)


def _score(facts: MetricFacts) -> Score | None:
    if facts.value is None:
        return None
    low, high = Estimate(facts.value, ci95=facts.ci95).within(facts.possible).ci95 or (None, None)
    return Score(value=facts.value, low=low, high=high)


def _change(joined: Joined, found: Found, d: Difference, verdict: Verdict, rule: Rule) -> Change:
    subject, unit = found.subject, found.unit
    single = subject.tasks[0] if len(subject.tasks) == 1 else None
    answers = noise = None
    if single is not None:
        pair = joined.tasks[single]
        if pair.n_paired:
            answers = float(pair.changed.mean())
        noise = noise_flip_rate(joined, single)
    value = shown(d.value, unit)
    first, last = d.shown or (None, None)
    low, high = shown_edges(first, last, unit)
    drawn = None if single is None or d.route == "unpaired" else _bootstrap(joined, single, rule)
    edges = (None, None) if drawn is None else shown_edges(*drawn, unit)
    return Change(
        value=value,
        low=low,
        high=high,
        # The error of a ratio is the ratio times its logarithm's.
        stderr=None if d.stderr is None else (value if unit == RATIO else 100) * d.stderr,
        n=d.n,
        n_clusters=d.n_clusters,
        deff=d.deff,
        lost=d.lost,
        gained=d.gained,
        flip_rate=d.flip_rate,
        answer_change_rate=answers,
        noise_flip_rate=noise,
        detectable=None
        if verdict.detectable is None
        else shown(-verdict.detectable if unit == RATIO else verdict.detectable, unit),
        needed=verdict.needed,
        route=d.route,
        bootstrap=None if edges[0] is None or edges[1] is None else (edges[0], edges[1]),
        mcnemar_mid_p=None if d.gained is None or d.lost is None else mcnemar_mid_p(d.gained, d.lost),
        sign_flip_p=None if single is None or d.route == "unpaired" else _sign_flip(joined, single, rule),
        p_loss=verdict.p_loss,
    )


def noise_flip_rate(joined: Joined, task: str) -> float | None:
    """How many of the task's items flip between two runs of dense; None without a noise run or binary marks."""
    if task not in joined.noise:
        return None
    pair = joined.noise[task]
    dense, again = pair.marks(pair.primary)
    usable = ~np.isnan(dense) & ~np.isnan(again)
    if not usable.any() or not np.isin(np.concatenate([dense[usable], again[usable]]), (0.0, 1.0)).all():
        return None
    return float((dense[usable] != again[usable]).mean())


def _bootstrap(joined: Joined, task: str, rule: Rule) -> tuple[float, float] | None:
    key = (task, rule.metric)
    if key not in joined.drawn:
        joined.drawn[key] = _draw(joined, task, rule)
    return joined.drawn[key]


def _draw(joined: Joined, task: str, rule: Rule) -> tuple[float, float] | None:
    measured = joined.measured(task, rule.metric)
    change = measured.compressed_marks - measured.dense_marks
    stats = joined.policy.stats
    # Graded marks make as many kinds of clusters as there are clusters; fewer draws keep that quick.
    draws = stats.resamples if np.unique(change).size <= 3 else min(stats.resamples, 999)
    means = bootstrap_means(change, measured.clusters, draws=draws, generator=generator_of(stats.seed, task))
    if means is None:
        return None
    tail = (1 - stats.confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def _sign_flip(joined: Joined, task: str, rule: Rule) -> float | None:
    """The sign-flip p-value; None where McNemar's says the same: right-or-wrong items that share no cluster."""
    key = (task, rule.metric)
    if key not in joined.flipped:
        measured = joined.measured(task, rule.metric)
        change = measured.compressed_marks - measured.dense_marks
        d, stats = measured.difference, joined.policy.stats
        alone = d is not None and d.gained is not None and d.n_clusters == d.n
        sums = cluster_sums(change, measured.clusters)
        draws = stats.resamples if np.unique(sums).size <= 64 else min(stats.resamples, 999)
        generator = generator_of(stats.seed, f"{task} sign flip")
        joined.flipped[key] = None if alone else sign_flip_p(sums, draws=draws, generator=generator)
    return joined.flipped[key]


def _worst(joined: Joined, subject: Subject) -> list[str]:
    """Ids of up to five items that were lost, those that dense was surest of first."""
    lost: list[tuple[float, str]] = []
    for task in subject.tasks:
        pair = joined.tasks[task]
        if pair.dense_result.metrics[pair.primary].kind == "statistic":
            continue
        measured = joined.measured(task)
        rows = pair.dense_rows[measured.usable][measured.compressed_marks < measured.dense_marks]
        prefix = "" if subject.level == "task" else f"{task}:"
        margins = np.nan_to_num(pair.dense.margin[rows], nan=-1.0)
        order = np.argsort(-margins, kind="stable")[:_WORST]
        lost += [(-float(margins[i]), f"{prefix}{pair.dense.ids[rows[i]]}") for i in order]
    return [name for _, name in sorted(lost, key=lambda item: item[0])[:_WORST]]


def worst_first(rows: Sequence[Row]) -> list[Row]:
    """Rows in the order of every table: COLLAPSED, FAIL, NOT COMPARED, UNDECIDED, PASS; biggest loss first."""
    return sorted(rows, key=lambda r: (_place(r), CODES.index(r.code), r.gain, r.name))


def _place(row: Row) -> int:
    """Its word's place, for a check; the verdict's for a row that no rule asks about."""
    return ORDER.index(row.word) if row.word is not None else len(ORDER)
