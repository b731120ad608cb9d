"""What every task of the suite keeps without being asked, on the made-up world."""

import json
import math

import pytest

from llmc.catalog import catalog
from llmc.evaluate.runner import gather
from llmc.evaluate.task import Answer, Scored, Task, TaskContext

TASKS = catalog("llmc.kick_bench.tasks", "TASK")
CTX = TaskContext(scale="mini", limit=12)


def answer(ask, text):
    if ask.kind == "generate_until":
        return Answer(text=text, n_tokens=len(text))
    return Answer(loglikelihood=-float(len(ask.continuation or "x")), is_greedy=False, n_tokens=1)


@pytest.mark.parametrize("name", TASKS)
def test_items_are_the_same_each_time_and_every_mark_is_explained(name):
    task = TASKS[name]
    assert isinstance(task, Task) and task.name == name == f"kick/{name.split('/')[1]}" and task.source
    items = gather(task, CTX).items
    assert [item.id for item in items] == [item.id for item in gather(task, CTX).items]
    marked = [task.mark(item, [answer(ask, "Some words.") for ask in item.requests]) for item in items]
    found = task.summarise([Scored(item, each) for item, each in zip(items, marked, strict=True)])
    primary = getattr(task, "primary_at", {}).get("mini", task.primary)
    assert primary in found and set(found) <= set(task.metrics)
    assert any(each.marks.get(primary) is not None for each in marked), "runs are paired on the primary mark"
    json.dumps(
        [[dict(each.marks), estimate.as_dict()] for each in marked for estimate in found.values()], allow_nan=False
    )


@pytest.mark.parametrize("name", TASKS)
def test_every_metric_says_what_values_are_possible_and_keeps_to_them(name):
    task = TASKS[name]
    items = gather(task, CTX).items
    for text in ("Some words.", "", "A"):
        marked = [task.mark(item, [answer(ask, text) for ask in item.requests]) for item in items]
        found = task.summarise([Scored(item, each) for item, each in zip(items, marked, strict=True)])
        for metric, estimate in found.items():
            least, greatest = task.metrics[metric].possible
            assert least is not None, metric
            assert estimate.value is None or least <= estimate.value <= (greatest or math.inf), metric


@pytest.mark.parametrize("name", TASKS)
def test_an_empty_answer_scores_nothing(name):
    task = TASKS[name]
    for item in gather(task, CTX).items:
        if not any(ask.kind == "generate_until" for ask in item.requests):
            pytest.skip("asks for no text")
        marks = task.mark(item, [answer(ask, "") for ask in item.requests]).marks
        by_likelihood = ("acc", "acc_text", "acc_text_norm")
        by_text = {k: v for k, v in marks.items() if k not in (*by_likelihood, "invalid", "present")}
        assert not any(by_text.values()), marks


@pytest.mark.parametrize("name", TASKS)
def test_accepted_answers_are_right(name):
    task = TASKS[name]
    for item in gather(task, CTX).items:
        if not item.gold or not any(ask.kind == "generate_until" for ask in item.requests):
            pytest.skip("asks for no text that could be right")
        gold = item.gold if isinstance(item.gold, str) else item.gold[0]
        marks = task.mark(item, [answer(ask, gold) for ask in item.requests]).marks
        primary = getattr(task, "primary_at", {}).get("mini", task.primary)
        assert marks["letter" if primary == "acc" else primary] == 1.0
