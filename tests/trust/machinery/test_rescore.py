"""Marking stored answers again gives what marking them by that version at once would have given."""

import json

import pytest

from llmc.errors import NotComparable
from llmc.evaluate.panel import flags_of
from llmc.evaluate.runner import Asked, sample, summary
from llmc.evaluate.task import Answer
from llmc.trust.machinery.rescore import rescore
from tests.trust.pretend import dimensions
from tests.trust.test_published_scores import TALK, chatter

TASKS = {task.name: task for one in dimensions().values() for task in one.tasks}


def run(task, ctx, model):
    """(results, sample lines through JSON) as the runner writes them."""
    items = list(task.items(ctx))
    answers = [[model(item, ask) for ask in item.requests] for item in items]
    marked = [task.mark(item, given) for item, given in zip(items, answers, strict=True)]
    flags = [flags_of(one, given) for one, given in zip(marked, answers, strict=True)]
    rows = zip(items, marked, answers, flags, strict=True)
    lines = [sample(item, item.requests, one, given, flag) for item, one, given, flag in rows]
    return summary(Asked(task, tuple(items), ctx), marked, flags, has_texts=True), json.loads(json.dumps(lines))


def speaker(name):
    kind = next(kind for kind in TALK if name.removeprefix("trust/").startswith(kind))
    say = chatter(TALK[kind], 1)

    def answer(item, ask):
        if ask.kind == "generate_until":
            return say(item, ask)
        return Answer(loglikelihood=-float(len(ask.continuation)) - len(item.id) % 3, n_tokens=2)

    return answer


@pytest.mark.parametrize("mode", ["fixed", "compat"])
@pytest.mark.parametrize("name", TASKS)
def test_rescoring_is_scoring(name, mode, context):
    task, model = TASKS[name], speaker(name)
    first = context(mode, limit=60, scorer="vC,toxicity=words")
    wanted = context(mode, limit=60, scorer="v1,toxicity=words")
    results, lines = run(task, wanted, model)
    _, others = run(task, first, model)
    again = rescore(task, wanted, reversed(others))
    assert again.results == results
    assert sorted(again.samples, key=lambda line: line["id"]) == sorted(lines, key=lambda line: line["id"])


def test_other_data_are_not_comparable(context):
    task = TASKS["trust/ethics"]
    _, lines = run(task, context(limit=20), speaker(task.name))
    with pytest.raises(NotComparable, match="other items"):
        rescore(task, context(limit=10), lines)
