"""The names of tasks, dimensions and suites in a policy: one that is nobody's, and near to somebody's, is a mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from llmc.catalog import catalog
from llmc.errors import UserError, quoted
from llmc.judging.policy_file import PolicyFile
from llmc.runs.reader import Run

SUITES = ("kick", "trust", "lm-eval", "*")


def check_names(file: PolicyFile, runs: Sequence[Run]) -> None:
    """Raises `UserError` for a name that no run and no task of ours has, where one of those is near to it.

    A name that is near to none may be a task that these runs were not asked; what a rule about it means is decided
    elsewhere.
    """
    tasks = {name for run in runs for name in run.results.tasks}
    results = [result for run in runs for result in run.results.tasks.values()]
    known = {
        "task": tasks,
        "suite": {*SUITES, *(result.suite for result in results)},
        "dimension": {result.dimension for result in results if result.dimension is not None},
    }
    for line, kind, name in _named(file):
        if name in known[kind]:
            continue
        everybody = known[kind] | (_ours(kind) if kind != "suite" else set())
        near = difflib.get_close_matches(name, sorted(everybody), n=1, cutoff=0.75)
        if name not in everybody and near:
            where = f"{file.path}:{line} " if file.path is not None else ""
            problem = f"{where}names the {kind} {quoted(name)}, and there is none of that name"
            raise UserError(problem, hint=f"did you mean {near[0]!r}?")


def _named(file: PolicyFile) -> Iterator[tuple[int, str, str]]:
    """Every name in the policy: the line of its rule or waiver, what it names, and the name."""
    for index, rule in enumerate(file.policy.rule):
        line = file.line_of("rule", index)
        for each in (rule, *rule.override):
            for kind in ("task", "dimension", "suite"):
                if (name := getattr(each, kind)) is not None:
                    yield line, kind, name
        yield from ((line, "task", name) for name in rule.weights)
    for index, waiver in enumerate(file.policy.waiver):
        for kind in ("task", "dimension", "suite"):
            if (name := getattr(waiver, kind)) is not None:
                yield file.line_of("waiver", index), kind, name


def _ours(kind: str) -> set[str]:
    """The names of our own tasks, or dimensions."""
    dimensions = catalog("llmc.trust.dimensions", "DIMENSION").values()
    if kind == "dimension":
        return {dimension.name for dimension in dimensions}
    return {*catalog("llmc.kick_bench.tasks", "TASK"), *(task.name for each in dimensions for task in each.tasks)}
