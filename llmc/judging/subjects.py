"""What a rule speaks of, and the evidence on it: suites, dimensions and tasks of two joined runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmc.errors import UserError
from llmc.evaluate.stats.paired import Difference, mean_of_differences
from llmc.evaluate.stats.units import Unit, margin_in
from llmc.evaluate.stats.verdict import Evidence
from llmc.judging.joined import Joined
from llmc.judging.pairs import TaskPair
from llmc.judging.policy import Level, Override, Rule, Tolerance
from llmc.runs.forms import TaskResult


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One row to judge: a suite, dimension or task with its member tasks in the dense run."""

    level: Level
    name: str
    suite: str
    dimension: str | None
    tasks: tuple[str, ...]


def subjects(joined: Joined, rule: Rule) -> list[Subject]:
    """The rows that a rule matches, tasks that only the dense run has among them."""
    found: dict[str, list[tuple[str, TaskResult]]] = {}
    for name, result in joined.dense.results.tasks.items():
        if rule.suite not in ("*", result.suite) or rule.task not in (None, name):
            continue
        dimension = joined.dense.dimension_of(name)
        if rule.dimension not in (None, dimension):
            continue
        if rule.metric not in ("primary", *result.metrics):
            continue
        if rule.level == "dimension" and dimension is None:
            continue
        group = {"task": name, "suite": result.suite, "dimension": dimension or ""}[rule.level]
        found.setdefault(group, []).append((name, result))
    return [
        Subject(
            level=rule.level,
            name=group,
            suite=members[0][1].suite,
            dimension=joined.dense.dimension_of(members[0][0]) if rule.level != "suite" else None,
            tasks=tuple(name for name, _ in members),
        )
        for group, members in found.items()
    ]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a subject, once overrides are looked up."""

    tolerance: Tolerance
    min_items: int | None


def asked_of(subject: Subject, tolerance: Tolerance, overrides: Sequence[Override]) -> Asked:
    """The tolerance and number of items for a subject: a rule's own, or an override's."""
    minimum = None
    for override in overrides:
        if override.names(subject.level, subject.name):
            tolerance = override.tolerance() or tolerance
            minimum = override.min_items or minimum
    return Asked(tolerance=tolerance, min_items=minimum)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The evidence on a subject with what a row shows beside it."""

    subject: Subject
    evidence: Evidence
    unit: Unit
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What dense has to lose over the member tasks, turned so that higher is better, as shares."""

    dense: float
    nothing: float
    """What a model scores that can do nothing: chance, or 0 where chance means nothing."""
    by_chance: bool
    at_chance: bool
    """Dense is not shown to be above `nothing`."""
    below_chance: bool = False
    """Dense is shown to be below chance."""


def gather(joined: Joined, subject: Subject, asked: Asked, rule: Rule, *, error_place: str | None = None) -> Found:
    """The evidence on one subject.

    `error_place` (a file and rule) makes a points tolerance of more than half the distance from dense to chance an
    error; without it the tolerance is cut to that half and the row says so.
    """
    reason = _not_compared(joined, subject, rule.metric)
    if reason is not None:
        evidence = Evidence(name=subject.name, difference=None, not_compared=reason)
        return Found(subject=subject, evidence=evidence, unit="points", notes=())
    tasks, notes = _averaged(joined, subject, rule.metric)
    weights = [rule.weights.get(task, 1.0) for task in tasks]
    difference = _mean([joined.difference(task, rule.metric) for task in tasks], weights, joined)
    base, unit = _base(joined, tasks, weights, rule.metric), joined.unit(tasks[0], rule.metric)
    margin = None if base is None else _margin(base, asked.tolerance, subject.name, error_place, notes)
    quiet, words = _without_silence(joined, tasks, weights, rule.metric)
    collapsed = [task for task in subject.tasks if task in joined.collapses]
    evidence = Evidence(
        name=subject.name,
        difference=difference,
        not_compared=None if difference is not None or collapsed else "no item could be marked in both runs",
        margin=None if margin is None else margin_in(margin, unit),
        collapse=_collapse_words(joined, subject, collapsed),
        without_silence=quiet,
        silence=words,
        collapsed_elsewhere=next((task for task in joined.collapses if task not in subject.tasks), None),
        broken_model=joined.broken,
        at_chance=base is not None and base.at_chance,
        below_chance=base is not None and base.below_chance,
        min_items=asked.min_items,
    )
    return Found(subject=subject, evidence=evidence, unit=unit, notes=tuple(notes))


def _margin(base: _Base, tolerance: Tolerance, name: str, error_place: str | None, add_to_: list[str]) -> float:
    """The loss allowed: the tolerance, but no more than half of what dense has to lose; adds a note when it is cut."""
    margin, half = tolerance.margin(base.dense), (base.dense - base.nothing) / 2
    if margin <= half:
        return margin
    if error_place is not None and tolerance.points is not None and base.by_chance and not base.at_chance:
        raise UserError(
            f"{error_place}: a tolerance of {tolerance.points:g} points for {name} is more than "
            f"half of dense's distance from chance ({200 * half:.1f} points)",
            hint=f"ask for at most {100 * half:.1f} points there, or give a relative tolerance",
        )
    if half > 0:
        what = "distance from chance" if base.by_chance else "own score"
        add_to_.append(f"the tolerance is cut to {100 * half:.2g} points, half of dense's {what}")
    return half


def _not_compared(joined: Joined, subject: Subject, metric: str) -> str | None:
    for task in subject.tasks:
        prefix = "" if subject.level == "task" else f"{task}: "
        if task not in joined.tasks:
            return f"{prefix}only the dense run has it"
        pair = joined.tasks[task]
        if pair.not_compared is not None:
            return prefix + pair.not_compared
        if (other := _judged_otherwise(pair, metric)) is not None:
            return prefix + other
        facts = pair.dense_result.metrics[pair.primary]
        # Answers that are none can't be marked either, and that they are none is the thing to say.
        if task in joined.collapses:
            continue
        if facts.kind != "statistic" and (unscored := _unscored(joined, pair)) is not None:
            return prefix + unscored
    return None


def _judged_otherwise(pair: TaskPair, metric: str) -> str | None:
    """What differs where the metric is a judge's (JUDGE.NAME): another revision marks the same answers otherwise."""
    name = metric.partition(".")[0]
    known = [result.judges.get(name) for result in (pair.dense_result, pair.other_result)]
    if known[0] == known[1]:
        return None
    ours, theirs = ("none" if facts is None else facts.revision for facts in known)
    return f"judge {name} of revision {ours} against {theirs}"


def _unscored(joined: Joined, pair: TaskPair) -> str | None:
    n = joined.measured(pair.name).n_unscored
    if n / pair.n_paired > joined.policy.compare.max_unscored:
        return f"{n:,} of {pair.n_paired:,} items could be marked in one run only"
    return None


def _averaged(joined: Joined, subject: Subject, metric: str) -> tuple[list[str], list[str]]:
    """The member tasks that enter the mean: those counted in points, where there are any."""
    if len(subject.tasks) == 1:
        return list(subject.tasks), []
    units = {task: joined.unit(task, metric) for task in subject.tasks}
    wanted: Unit = "points" if "points" in units.values() else units[subject.tasks[0]]
    left_out = [task for task in subject.tasks if units[task] != wanted]
    if not left_out:
        return list(subject.tasks), []
    why = "not a share" if wanted == "points" else f"not counted in {wanted}"
    return [task for task in subject.tasks if units[task] == wanted], [
        f"not in the mean, because {why}: {', '.join(left_out)}"
    ]


def _mean(found: Sequence[Difference | None], weights: Sequence[float], joined: Joined) -> Difference | None:
    known = [d for d in found if d is not None]
    if len(known) != len(found) or not known:
        return None
    if len(known) == 1:
        return known[0]
    return mean_of_differences(known, weights, confidence=joined.policy.stats.confidence)


def _without_silence(
    joined: Joined, tasks: Sequence[str], weights: Sequence[float], metric: str
) -> tuple[Difference | None, str | None]:
    found = [joined.without_silence(task, metric) for task in tasks]
    words = next((said for _, said in found if said is not None), None)
    if words is None:
        return None, None
    return _mean([difference for difference, _ in found], weights, joined), words


def _collapse_words(joined: Joined, subject: Subject, collapsed: Sequence[str]) -> str | None:
    if not collapsed:
        return None
    first = joined.collapses[collapsed[0]]
    return first if subject.level == "task" else f"{collapsed[0]}: {first}"


def _base(joined: Joined, tasks: Sequence[str], weights: Sequence[float], metric: str) -> _Base | None:
    levels = list(_levels(joined, [joined.tasks[task] for task in tasks], metric))
    if any(level is None for level in levels) or sum(weights) <= 0:
        return None
    known = [level for level in levels if level is not None]
    share = [w / sum(weights) for w in weights]
    return _Base(
        dense=sum(w * level.dense for w, level in zip(share, known, strict=True)),
        nothing=sum(w * level.nothing for w, level in zip(share, known, strict=True)),
        by_chance=all(level.by_chance for level in known),
        at_chance=all(level.at_chance for level in known),
        below_chance=all(level.below_chance for level in known),
    )


def _levels(joined: Joined, pairs: Sequence[TaskPair], metric: str) -> Iterator[_Base | None]:
    for pair in pairs:
        facts = pair.metric(metric)
        if facts is None:
            yield None
            continue
        higher = facts.direction == "higher"
        if joined.unit(pair.name, metric) != "points":
            yield _Base(dense=1.0, nothing=0.0, by_chance=False, at_chance=False)
        elif facts.kind == "statistic":
            value = (facts.value or 0.0) / (facts.share or 1.0)
            yield _Base(dense=value if higher else 1 - value, nothing=0.0, by_chance=False, at_chance=False)
        else:
            level = joined.measured(pair.name, metric).dense
            if level is None:
                yield None
                continue
            nothing = 0.0 if facts.chance is None else facts.chance if higher else 1 - facts.chance
            turned = level.turned(facts)
            yield _Base(
                dense=turned.value,
                nothing=nothing,
                by_chance=facts.chance is not None,
                at_chance=turned.low is not None and turned.low <= nothing,
                below_chance=facts.chance is not None and turned.high is not None and turned.high < nothing,
            )
