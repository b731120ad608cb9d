"""From run directories and a policy to a comparison: joins, judges every row once, and settles the exit code."""

from __future__ import annotations

import datetime
import filecmp
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from llmc.errors import Exit, UserError
from llmc.judging.budgets import budget_row
from llmc.judging.comparison import Comparison, PolicyFacts, Row, RunComparison
from llmc.judging.facts import health, matrices, run_facts
from llmc.judging.flips import most_telling
from llmc.judging.headline import counts, gate_banner, overall, preference, recommendation, run_headline, tally
from llmc.judging.joined import Joined, join
from llmc.judging.limits import limit_rows
from llmc.judging.policy import DEFAULT_RULES, Level, Rule
from llmc.judging.policy_file import PolicyFile
from llmc.judging.rows import Judging, difference_rows, worst_first
from llmc.judging.speeds import speed_ratio, speeds
from llmc.judging.subjects import Asked, Subject, asked_of, subjects
from llmc.runs.reader import Run, load_run, sample_file_name
from llmc.version import __version__

log = logging.getLogger(__name__)
EIGHT = ("adversarial", "demonstrations", "ethics", "fairness", "ood", "privacy", "stereotype", "toxicity")


class Compared:
    """A comparison beside the joined runs it was made from, which hold the items."""

    def __init__(self, comparison: Comparison, joined: Sequence[Joined]) -> None:
        self.comparison = comparison
        self.joined = joined


def compare(
    dense: Run, others: Sequence[Run], file: PolicyFile, *, now: datetime.datetime, command: str = ""
) -> Compared:
    """Every run against dense, under one policy, the run to take first.

    Raises `NotComparable` where runs measure different things.
    """
    policy = file.policy
    noise = None if policy.compare.noise_run is None else load_run(_beside(file, policy.compare.noise_run))
    if noise is not None and noise.path.resolve() == dense.path.resolve():
        raise UserError("compare.noise_run is the dense run itself", hint="evaluate the dense model a second time")
    judging = Judging(file=file, today=now.date())
    joined = []
    for other in others:
        log.info("joining %s with %s", other.label, dense.label)
        joined.append(join(dense, other, policy, noise))
    judged = sorted(((_judge_run(one, judging), one) for one in joined), key=lambda pair: preference(pair[0]))
    runs, joined = [run for run, _ in judged], [one for _, one in judged]
    runs = [run.model_copy(update={"on_front": _on_front(run, runs)}) for run in runs]
    said = recommendation(runs)
    comparison = Comparison(
        llmc=__version__,
        created=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        title=runs[0].headline if len(runs) == 1 else said,
        recommendation=said,
        dense=run_facts(dense),
        runs=runs,
        policy=PolicyFacts(
            name=policy.name,
            path=None if file.path is None else str(file.path),
            sha256=None if file.path is None else file.sha256,
            text=file.text,
            built_in=policy.asks_by_default,
            confidence=policy.stats.confidence,
            min_items=policy.stats.min_items,
            undecided=policy.decide.undecided,
        ),
        command=command,
        notes=_notes(joined),
    )
    return Compared(comparison, joined)


def refuse_swapped(dense: Run, others: Sequence[Run]) -> None:
    """Raises `UserError` where a compressed run stands in the dense run's place and a dense one in a compressed one's.

    Judged the wrong way round, every loss would read as a gain, and a gate would pass it.
    """
    if dense.manifest.compression is None:
        return
    for other in others:
        if other.manifest.compression is None:
            raise UserError(
                f"{dense.path} is a run of a compressed model and {other.path} of a dense one",
                hint="the dense run comes first",
            )


def refuse_itself(dense: Run, others: Sequence[Run]) -> None:
    """Raises `UserError` where a run is the dense one: its folder, a link to it, or its answers of its weights again.

    It would pass everything and say nothing. The dense model evaluated again is compared as long as an answer differs
    (another seed, batch or backend: how much it differs from itself), and noted to have the same weights.
    """
    for other in others:
        if other.path.resolve() == dense.path.resolve():
            raise UserError(f"{other.path} is the dense run itself", hint="give the run of a compressed model")
        if _same_weights(dense, other) and _same_answers(dense, other):
            raise UserError(
                f"{other.path} holds the same answers of the same weights as {dense.path}: a run against itself",
                hint="give the run of a compressed model",
            )


def _same_weights(one: Run, two: Run) -> bool:
    ours, theirs = one.manifest.model, two.manifest.model
    return ours.sha256 == theirs.sha256 and (ours.sha256 is not None or ours.id == theirs.id)


def _same_answers(one: Run, two: Run) -> bool:
    if one.results.tasks.keys() != two.results.tasks.keys():
        return False
    files = [Path("samples") / sample_file_name(task) for task in one.results.tasks]
    return all(filecmp.cmp(one.path / file, two.path / file, shallow=False) for file in files)


def _beside(file: PolicyFile, name: str) -> Path:
    """A path in a policy counts from the working directory, and from the policy's own folder where that has none."""
    path = Path(name)
    if path.exists() or file.path is None:
        return path
    return file.path.parent / path


def _judge_run(joined: Joined, judging: Judging) -> RunComparison:
    rules = worst_first(_rules(joined, judging))
    readings = worst_first(_readings(joined, judging, rules))
    sizes = [run.manifest.model.bytes_on_disk for run in (joined.dense, joined.other)]
    size_ratio = None if sizes[0] is None or sizes[1] is None else sizes[1] / sizes[0]
    speed = speed_ratio(joined)
    score = _score(readings)
    label = joined.other.label
    return RunComparison(
        facts=run_facts(joined.other),
        headline=run_headline(label, rules, size_ratio),
        size_ratio=size_ratio,
        speed_ratio=speed,
        speeds=speeds(joined),
        on_front=False,
        score=score[0],
        score_low=score[1],
        score_high=score[2],
        readings=readings,
        rules=rules,
        health=[health(joined, task) for task in joined.tasks],
        flipped=most_telling(joined),
        matrices=matrices(joined.other),
        missing=joined.missing,
        extra=joined.extra,
        not_measured=_not_measured(joined),
        exit_code=int(exit_code(rules)),
        word=overall(rules),
        counts=counts(rules),
        tally=tally(rules),
        verdict=gate_banner(rules, size_ratio, speed),
    )


def exit_code(rules: Sequence[Row]) -> Exit:
    """The gate's exit code: what is shown to be lost or collapsed, before what could not be compared, before the rest.

    A loss that is shown stays one, whatever else is missing: a pipeline reads 4 as a mistake of its own.
    """
    outcomes = {row.outcome for row in rules}
    for outcome, code in (("fail", Exit.LOST), ("error", Exit.NOT_COMPARABLE), ("undecided", Exit.UNDECIDED)):
        if outcome in outcomes:
            return code
    return Exit.OK


def worst_exit(codes: Iterable[int]) -> Exit:
    """The exit code of several runs: the worst of theirs, in the same order."""
    order = (Exit.LOST, Exit.NOT_COMPARABLE, Exit.UNDECIDED, Exit.OK)
    return min((Exit(code) for code in codes), key=order.index, default=Exit.OK)


def _rules(joined: Joined, judging: Judging) -> list[Row]:
    file, policy = judging.file, judging.file.policy
    rows: list[Row] = []
    for index, rule in enumerate(policy.rule):
        line = None if file.path is None or policy.asks_by_default else file.line_of("rule", index)
        if rule.kind != "difference":
            rows += limit_rows(joined, rule, judging, line)
            continue
        place = None if policy.asks_by_default else f'{file.path}:{line} rule "{rule.id}"'
        found = difference_rows(joined, rule, judging, line=line, error_place=place)
        if not found and not policy.asks_by_default:
            raise UserError(
                f'{file.path}:{line} rule "{rule.id}" matches nothing in {joined.dense.label}',
                hint="a rule that matches nothing never passes: see the run's tasks with `llmc compare --json`",
            )
        rows += found
    for index, budget in enumerate(policy.budget):
        rows.append(budget_row(joined, budget, judging, file.line_of("budget", index)))
    if not rows:
        raise UserError(
            "no rule matches anything in these runs", hint="evaluate kick or trust, or write a policy with rules"
        )
    return rows


def _readings(joined: Joined, judging: Judging, rules: Sequence[Row]) -> list[Row]:
    """Every suite, dimension and task once: the rule's own row where one asks about it, else what was found, wordless.

    So that no table has a word, or one word more, than the gate has. What no rule asks about is read at the built-in
    tolerance. Trust has no suite row: a mean over dimensions hides the one that was lost.
    """
    rows: list[Row] = []
    results = joined.dense.results.tasks
    in_trust = {r.suite for name, r in results.items() if joined.dense.dimension_of(name) is not None}
    suites = {r.suite for r in results.values()} - in_trust
    asked = {(row.level, row.name): row for row in reversed(rules) if row.rule in _speaking(joined)}
    for level in ("suite", "dimension", "task"):
        rule = Rule.model_validate(
            {"id": "reading", "level": level, "suite": "*", "tolerance": {"points": 1.0}, "test": "non-inferiority"}
        )

        def ask(subject: Subject) -> Asked:
            return _reading_asks(joined, subject)

        for row in difference_rows(joined, rule, judging, ask=ask):
            of_rule = asked.get((row.level, row.name))
            if of_rule is not None:
                rows.append(of_rule)
            elif level != "suite" or (row.suite in suites and len(row.tasks) > 1):
                rows.append(row.model_copy(update={"word": None, "outcome": "pass", "sentence": _unasked(row)}))
    return rows


def _speaking(joined: Joined) -> set[str]:
    """The rules about differences of primary metrics: what a table of suites, dimensions and tasks is about."""
    return {rule.id for rule in joined.policy.rule if rule.kind == "difference" and rule.metric == "primary"}


def _unasked(row: Row) -> str:
    return f"No rule asks about it. {row.found}."


def _reading_asks(joined: Joined, subject: Subject) -> Asked:
    """The tolerance of the first rule that speaks of this subject, else the built-in one of its level."""
    level: Level = subject.level
    for rule in joined.policy.rule:
        speaks = rule.kind == "difference" and rule.level == level and rule.metric == "primary"
        if speaks and rule.tolerance and any(found.name == subject.name for found in subjects(joined, rule)):
            return asked_of(subject, rule.tolerance, rule.override)
    built_in = next(Rule.model_validate(rule) for rule in DEFAULT_RULES if rule["level"] == level)
    assert built_in.tolerance is not None
    return Asked(tolerance=built_in.tolerance, min_items=None)


def _score(readings: Sequence[Row]) -> tuple[float | None, float | None, float | None]:
    """The mean change over knowledge tasks and dimensions in points, for the chart of size against quality.

    A model that collapsed anywhere has none: its scores enter no mean.
    """
    rows = [r for r in readings if r.level == "dimension" or (r.level == "task" and r.dimension is None)]
    if any(r.code == "collapsed" for r in readings):
        return None, None, None
    changes = [r.change for r in rows if r.change is not None and r.unit == "points"]
    if not changes or len(changes) < len([r for r in rows if r.unit == "points"]):
        return None, None, None
    value = math.fsum(c.value for c in changes) / len(changes)
    if any(c.low is None or c.high is None for c in changes):
        return value, None, None
    below = math.hypot(*(c.value - (c.low or 0.0) for c in changes)) / len(changes)
    above = math.hypot(*((c.high or 0.0) - c.value for c in changes)) / len(changes)
    return value, value - below, value + above


def _on_front(run: RunComparison, runs: Sequence[RunComparison]) -> bool:
    """Whether no other run is at least as small and as good, and one of both better. A collapsed run never is."""
    if run.size_ratio is None or run.score is None:
        return False
    for other in runs:
        if other is run or other.size_ratio is None or other.score is None:
            continue
        as_good = other.size_ratio <= run.size_ratio and other.score >= run.score
        if as_good and (other.size_ratio < run.size_ratio or other.score > run.score):
            return False
    return True


def _not_measured(joined: Joined) -> list[str]:
    """What a reader might think was measured and was not."""
    said = []
    results = joined.dense.results.tasks
    if not any(r.suite == "kick" for r in results.values()):
        said.append("knowledge (suite kick) was not evaluated")
    have = {name for name in map(joined.dense.dimension_of, results) if name is not None}
    if not have:
        said.append("trust was not evaluated")
    elif lacking := [name for name in EIGHT if name not in have]:
        said.append(f"trust dimensions not evaluated: {', '.join(lacking)}")
    if joined.missing:
        said.append(f"tasks that only the dense run has: {', '.join(joined.missing)}")
    if joined.extra:
        said.append(f"tasks that only this run has, not compared: {', '.join(joined.extra)}")
    if not joined.noise:
        said.append("how many items flip between two runs of dense itself (no noise run in the policy)")
    if speed_ratio(joined) is None:
        said.append("speed and memory while running (llmc bench measures them)")
    if joined.other.manifest.scale == "mini":
        said.append("real data: this is the made-up world of scale mini")
    if joined.other.manifest.limit is not None:
        said.append(f"all items: the evaluation stopped at {joined.other.manifest.limit} a task")
    return said


def _notes(joined: Sequence[Joined]) -> list[str]:
    if not joined:
        return []
    dense = joined[0].dense.manifest
    seeds = {one.other.manifest.seed for one in joined} | {dense.seed}
    backends = {one.other.manifest.backend for one in joined} | {dense.backend}
    notes = [
        f"{one.other.label} has the same weights as {one.dense.label}"
        for one in joined
        if one.other.manifest.model.sha256 is not None and one.other.manifest.model.sha256 == dense.model.sha256
    ]
    if len(seeds) > 1:
        notes.append(f"runs have different seeds: {', '.join(str(s) for s in sorted(seeds, key=str))}")
    if len(backends) > 1:
        notes.append(f"runs were answered by different backends: {', '.join(sorted(map(str, backends)))}")
    return notes
