"""FreebaseQA: the file, the prompts, the marks."""

import json

from llmc.evaluate.task import Scored, TaskContext
from llmc.kick_bench.tasks.factoid_qa import TASK, _unquoted


def test_every_question_of_the_split_is_asked_once_with_all_its_answers(ctx):
    items = list(TASK.items(ctx()))
    assert len(items) == 3999  # 4,023 pairs, 3,999 questions
    assert sum(len(item.gold) for item in items) == 4023
    assert len({item.id for item in items}) == 3999


def test_smaller_scales_are_the_beginning_of_larger_ones(ctx):
    quick, full = list(TASK.items(ctx(scale="quick"))), list(TASK.items(ctx()))
    assert len(quick) == 1000 and [item.id for item in quick] == [item.id for item in full[:1000]]


def test_the_prompt_doesnt_end_in_a_space_and_stops_at_the_line(ctx):
    ask = next(iter(TASK.items(ctx()))).requests[0]
    assert ask.context.startswith("Please give answer to this question: ")
    assert ask.context.endswith("\nThe answer is") and ask.until == ("\n",)
    assert (ask.max_new_tokens, ask.temperature) == (32, 0.0)


def test_an_empty_answer_and_an_echo_of_the_prompt_score_nothing(ctx, say):
    item = next(item for item in TASK.items(ctx()) if item.gold == ("ghana",))
    assert set(TASK.mark(item, [say("")]).marks.values()) == {0.0}
    assert TASK.mark(item, [say("\nGhana")]).marks["contains"] == 1.0
    assert TASK.mark(item, [say(" Kenya\nGhana")]).marks["contains"] == 0.0


def test_compat_asks_one_more_than_it_divides_by_and_reads_the_prompt_too(ctx, say):
    items = list(TASK.items(ctx(scale="quick", mode="compat", encode=lambda text: text.split())))
    assert len(items) == 1001
    ask = items[0].requests[0]
    assert ask.context.endswith("The answer is ") and ask.until == ()
    assert ask.max_new_tokens == 2 * len(ask.context.split())
    leaks = [Scored(item, TASK.mark(item, [say("")])) for item in items]
    n_leaks = sum(each.marked.marks["contains"] for each in leaks)
    assert 1 <= n_leaks <= 15  # the paper's prompts give about half a percent away
    assert TASK.summarise(leaks)["contains"].value == n_leaks / 1000


def test_compat_asks_a_question_as_often_as_it_stands_in_the_file(ctx, tmp_path):
    items = list(TASK.items(ctx(mode="compat", encode=str.split)))
    assert len(items) == len({item.id for item in items}) == 4023 and len({item.cluster for item in items}) == 3999
    content = {
        "Questions": [
            {"RawQuestion": question, "Parses": [{"Answers": [{"AnswersName": [answer]}]}]}
            for question, answer in (("Who?", "ann"), ("What?", "x"), ("Who?", "bob"))
        ]
    }
    (tmp_path / "freebaseqa").mkdir()
    (tmp_path / "freebaseqa/FreebaseQA-train.json").write_text(json.dumps(content))
    found = list(TASK.items(TaskContext(data_root=tmp_path, scale="full", mode="compat")))
    assert [(item.question, item.gold) for item in found] == [("Who?", ("ann",)), ("What?", ("x",)), ("Who?", ("bob",))]
    assert found[2].id == f"{found[0].id}-2" and found[2].cluster == found[0].id


def test_the_published_leak_rate_of_the_evaluation_split(ctx, say):
    """21 of 4,023 pairs have the answer inside the prompt: 0.52 %."""
    from llmc.kick_bench.text import published_contains

    items = list(TASK.items(ctx(mode="compat", encode=str.split)))
    pairs = [(item, gold) for item in items for gold in item.gold]
    assert sum(published_contains(item.requests[0].context, [gold]) for item, gold in pairs) == 21


def test_a_spreadsheets_quotation_marks_are_taken_off():
    assert _unquoted('"Who wrote ""Emma""?"') == 'Who wrote "Emma"?'
    assert _unquoted('"Emma" is by whom?') == '"Emma" is by whom?'
