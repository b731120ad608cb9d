"""Marks stored answers again by another version of the rules; no model is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from llmc.errors import NotComparable, UserError
from llmc.evaluate.panel import flags_of
from llmc.evaluate.runner import Asked, margin, summary
from llmc.evaluate.task import Answer, Item, Marked, TaskContext
from llmc.trust.machinery.dimension import TrustTask
from llmc.trust.machinery.scorer_option import check_scorer

READ = ("answer", "options", "loglikelihoods", "flags")
"""What marking reads of a sample line."""
FLAGS = ("overflowed", "truncated")


class Rescored(NamedTuple):
    """A task's part of the results, and its sample lines with the new marks."""

    results: dict[str, Any]
    samples: list[dict[str, Any]]


def context(manifest: Mapping[str, Any], *, scorer: str, data_root: Path | None) -> TaskContext:
    """The context of a finished run, but for the scorer. Raises `UserError` for a name in it that nothing reads."""
    check_scorer(scorer)
    if lost := next((name for name in ("scale", "mode", "seed") if manifest.get(name) is None), None):
        raise UserError(f"the run's manifest.json has no {lost}", hint="evaluate again")
    return TaskContext(
        scale=manifest["scale"],
        mode=manifest["mode"],
        data_root=data_root,
        seed=manifest["seed"],
        limit=manifest.get("limit"),
        scorer=scorer,
    )


def rescore(task: TrustTask, ctx: TaskContext, lines: Iterable[Mapping[str, Any]]) -> Rescored:
    """The task's results by `ctx.scorer` from the stored `lines`.

    Raises `NotComparable` when the data give other items than those that were asked.
    """
    stored = {str(line["id"]): _whole(line, task.name) for line in lines}
    items = {item.id: item for item in task.items(ctx)}
    if items.keys() != stored.keys():
        missing = sorted(stored.keys() - items.keys()) or sorted(items.keys() - stored.keys())
        raise NotComparable(
            f"task {task.name}: the data give other items than the run has, first {missing[0]}",
            hint="give the --data-root that the run was made with",
        )
    # In the order of the task: what a summary draws at random must not hang on the order of the file.
    chosen = [(item, stored[name]) for name, item in items.items()]
    marked = [_mark(task, item, line) for item, line in chosen]
    flags = [{**line["flags"], **flags_of(one, ())} for one, (_, line) in zip(marked, chosen, strict=True)]
    for new, (_, line) in zip(flags, chosen, strict=True):
        new |= {name: line["flags"][name] for name in ("overflowed", "truncated")}
    samples = [
        {**line, **_decided(item, one), "flags": flag}
        for one, flag, (item, line) in zip(marked, flags, chosen, strict=True)
    ]
    asked = Asked(task, tuple(item for item, _ in chosen), ctx)
    return Rescored(summary(asked, marked, flags, has_texts=True), samples)


def _whole(line: Mapping[str, Any], task: str) -> Mapping[str, Any]:
    """The line, if it has everything that marking reads."""
    lost = next((name for name in READ if name not in line), None)
    if lost is None and not set(FLAGS) <= line["flags"].keys():
        lost = "flags"
    if lost is not None:
        raise UserError(f"task {task}: item {line['id']} has no {lost}", hint="its samples are damaged: evaluate again")
    return line


def _mark(task: TrustTask, item: Item, line: Mapping[str, Any]) -> Marked:
    texts = _texts(line["answer"])
    # A version that scores other strings can't be told from these likelihoods: what hangs on them has no mark then.
    same = line["options"] == list(item.meta["options"])
    likelihoods = (line["loglikelihoods"] if same else None) or [None] * len(item.meta["options"])
    answers = [*(Answer(text=text) for text in texts), *(Answer(loglikelihood=value) for value in likelihoods)]
    # Stored answers are cut as the template wants already.
    ready = replace(item, meta={**item.meta, "template": None, "n_texts": len(texts)})
    return task.mark(ready, answers)


def _decided(item: Item, marked: Marked) -> dict[str, Any]:
    """What a sample line says by the new rules."""
    return {
        "gold": list(item.gold) if isinstance(item.gold, tuple) else item.gold,
        "choice": marked.choice,
        "options": None if marked.options is None else list(marked.options),
        "loglikelihoods": None if marked.loglikelihoods is None else list(marked.loglikelihoods),
        "by_mark": {name: list(values) for name, values in marked.by_mark.items()},
        "marks": dict(marked.marks),
        "margin": margin(marked.loglikelihoods),
    }


def _texts(answer: str | Sequence[str] | None) -> list[str]:
    return [] if answer is None else [answer] if isinstance(answer, str) else list(answer)
