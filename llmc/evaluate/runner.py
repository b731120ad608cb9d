"""The one loop over tasks: ask, mark, sum up, write. Knows no suite."""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llmc.errors import UserError
from llmc.evaluate.backends.backend import Backend
from llmc.evaluate.collapse import MIN_ITEMS
from llmc.evaluate.journal import Journal
from llmc.evaluate.panel import collapsed, flags_of, option_shares, panel
from llmc.evaluate.prompting.thoughts import refuse_inside_thought
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import Answer, Ask, FollowsUp, Item, Marked, Metric, Scored, Task, TaskContext

logger = logging.getLogger(__name__)

MAX_TURNS = 8
"""Turns after the first that a task may ask for."""
Progress = Callable[[int, int, str], None]


class Asked(NamedTuple):
    """A task with its items, before anything is answered."""

    task: Task
    items: tuple[Item, ...]
    ctx: TaskContext


class Outcome(NamedTuple):
    """A task's part of the results, and its sample lines."""

    results: dict[str, Any]
    samples: list[dict[str, Any]]


def gather(task: Task, ctx: TaskContext) -> Asked:
    """The task's items, at most `ctx.limit`; ids must be unique and every item must ask something."""
    items = tuple(itertools.islice(task.items(ctx), ctx.limit))
    if not items:
        raise UserError(f"task {task.name} has no items at scale {ctx.scale}")
    if len({item.id for item in items}) < len(items):
        raise RuntimeError(f"task {task.name} gives an item id twice")
    if empty := [item.id for item in items if not item.requests]:
        raise RuntimeError(f"task {task.name}: item {empty[0]} asks nothing")
    for ask in (ask for item in items for ask in item.requests if ask.continuation is not None):
        refuse_inside_thought(ask.context)
    return Asked(task, items, ctx)


BYTES_A_LINE, BYTES_A_TOKEN = 1_000, 5
"""What a line of samples takes beside its texts, and what a token of an answer takes, at most as a rule."""


def expected_bytes(asked: Sequence[Asked]) -> int:
    """About how much of a disk the tasks' answers can fill: each lies in the journal and in the samples."""
    total = 0
    for each in asked:
        for item in each.items:
            new = sum(ask.max_new_tokens for ask in item.requests if ask.kind == "generate_until")
            texts = 3 * len(item.requests[0].context)  # the prompt, its question, and what is escaped in them
            total += texts + 2 * (BYTES_A_LINE + BYTES_A_TOKEN * new)
    return total


def described(asked: Asked, ctx: TaskContext) -> dict[str, Any]:
    """What the manifest says about a task: enough to see whether two runs asked the same."""
    keys = [ask.prompt_key() for item in asked.items for ask in item.requests]
    items = [[item.id, item.gold, item.cluster, item.stratum] for item in asked.items]
    return {
        "suite": asked.task.suite,
        "version": asked.task.version,
        "mode": ctx.mode,
        "scorer": ctx.scorer,
        "prompts_sha256": hashlib.sha256("".join(sorted(keys)).encode()).hexdigest(),
        "items_sha256": hashlib.sha256(json.dumps(sorted(items, key=str)).encode()).hexdigest(),
        "n": len(asked.items),
    }


def perform(asked: Asked, backend: Backend, journal: Journal, progress: Progress = lambda *_: None) -> Outcome:
    """Ask, mark and sum up one task; answers in `journal` aren't asked again."""
    task, items, _ = asked
    requests = [list(item.requests) for item in items]
    answers: list[list[Answer]] = [[] for _ in items]
    for turn in range(MAX_TURNS + 1):
        pending = [(i, ask) for i, asks in enumerate(requests) for ask in asks[len(answers[i]) :]]
        if not pending:
            break
        if turn == MAX_TURNS:
            raise RuntimeError(f"task {task.name} wants more than {MAX_TURNS} turns")
        given = _ask([ask for _, ask in pending], backend, journal, f"{task.name} turn {turn + 1}", progress)
        for (i, _), answer in zip(pending, given, strict=True):
            answers[i].append(answer)
        if isinstance(task, FollowsUp):
            for i, item in enumerate(items):
                requests[i] += task.follow_up(item, tuple(answers[i]))
    marked = [task.mark(item, tuple(given)) for item, given in zip(items, answers, strict=True)]
    flags = [flags_of(verdict, given) for verdict, given in zip(marked, answers, strict=True)]
    lines = [
        sample(item, tuple(asks), verdict, tuple(given), flag)
        for item, asks, verdict, given, flag in zip(items, requests, marked, answers, flags, strict=True)
    ]
    return Outcome(summary(asked, marked, flags, has_texts=_has_texts(requests)), lines)


def _ask(asks: Sequence[Ask], backend: Backend, journal: Journal, doing: str, progress: Progress) -> list[Answer]:
    total, done = len({ask.key() for ask in asks}), 0

    def tick(n: int) -> None:
        nonlocal done
        done = min(total, done + n)
        progress(done, total, doing)

    return backend.answers(asks, known=journal.known, store=journal.store, tick=tick)


def _has_texts(requests: Sequence[Sequence[Ask]]) -> bool:
    return any(ask.kind == "generate_until" for asks in requests for ask in asks)


def summary(
    asked: Asked, marked: Sequence[Marked], flags: Sequence[Mapping[str, bool]], *, has_texts: bool
) -> dict[str, Any]:
    """A task's part of results.json."""
    task = asked.task
    special: Mapping[str, str] = getattr(task, "primary_at", {})
    primary = special.get(asked.ctx.mode, special.get(asked.ctx.scale, task.primary))
    rows = [Scored(item, each) for item, each in zip(asked.items, marked, strict=True)]
    estimates = dict(task.summarise(rows))
    estimates.setdefault(primary, Estimate(None))  # no item could be marked
    if "collapsed" in estimates and len(rows) < MIN_ITEMS:  # so few show no collapse, and none away
        estimates["collapsed"] = Estimate(None, None, len(rows))
    shares = panel(flags, has_texts=has_texts)
    options = option_shares(marked)
    known = {**task.metrics, **getattr(task, "metrics_at", {}).get(asked.ctx.scale, {})}
    metrics = {name: known.get(name, Metric()).facts(estimate) for name, estimate in estimates.items()}
    return {
        "suite": task.suite,
        "dimension": task.dimension,
        "version": task.version,
        "primary": primary,
        "metrics": metrics,
        "panel": shares,
        # A task that judges its own collapse (it knows of likelihoods and control questions) is believed.
        "collapsed": bool(estimates["collapsed"].value) if "collapsed" in estimates else collapsed(shares, options),
        "notes": [*getattr(task, "notes", ()), *getattr(task, "remarks", lambda rows: ())(rows)],
        "options": options,
    }


def sample(
    item: Item, asks: Sequence[Ask], marked: Marked, answers: Sequence[Answer], flags: Mapping[str, bool]
) -> dict[str, Any]:
    """An item's line: what was asked, answered and decided."""
    texts = [answer.text for answer in answers if answer.text is not None]
    answer = marked.answer
    if answer is None and texts:
        answer = texts[0] if len(texts) == 1 else tuple(texts)
    return {
        "id": item.id,
        "cluster": item.cluster,
        "stratum": item.stratum,
        "prompt_sha256": hashlib.sha256("".join(ask.prompt_key() for ask in item.requests).encode()).hexdigest(),
        "prompt": item.requests[0].context,
        "question": item.question,
        "turns": list(item.meta["turns"]) if len(item.meta.get("turns", ())) > 1 else None,
        "request": asks[0].settings(),
        "gold": list(item.gold) if isinstance(item.gold, tuple) else item.gold,
        "answer": list(answer) if isinstance(answer, tuple) else answer,
        "choice": marked.choice,
        "options": None if marked.options is None else list(marked.options),
        "loglikelihoods": None if marked.loglikelihoods is None else list(marked.loglikelihoods),
        "by_mark": {name: list(values) for name, values in marked.by_mark.items()},
        "marks": dict(marked.marks),
        "flags": dict(flags),
        "kl": marked.kl,
        "margin": margin(marked.loglikelihoods),
        "seconds": None,
    }


def margin(loglikelihoods: Sequence[float | None] | None) -> float | None:
    """How sure the model was: the probability of its best option less that of the second, among the options."""
    known = [each for each in loglikelihoods or () if each is not None]
    if len(known) < 2 or len(known) < len(loglikelihoods or ()):
        return None
    best = max(known)
    weights = sorted((math.exp(each - best) for each in known), reverse=True)
    return (weights[0] - weights[1]) / math.fsum(weights)
