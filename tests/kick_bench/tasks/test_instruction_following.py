"""Instructions in one and two turns."""

from collections import Counter

from llmc.evaluate.task import FollowsUp
from llmc.kick_bench.tasks.instruction_following import TASK

FINE = "Here is a plan that you can follow at home without any special tools or money at all, step by step."


def test_both_benches_are_asked_and_only_one_has_a_second_turn(ctx, say):
    items = list(TASK.items(ctx()))
    assert Counter(item.id.split("-")[0] for item in items) == {"vicuna": 80, "mt": 80}
    assert isinstance(TASK, FollowsUp)
    vicuna, bench = items[0], items[-1]
    assert TASK.follow_up(vicuna, [say("x")]) == ()
    (second,) = TASK.follow_up(bench, [say("my first answer")])
    turns = bench.meta["turns"]
    assert second.context.index(turns[0]) < second.context.index("my first answer") < second.context.index(turns[1])
    assert TASK.follow_up(bench, [say("a"), say("b")]) == ()


def test_a_chat_template_is_used_where_there_is_one(ctx):
    made = ctx(chat=lambda messages: "|".join(m["role"] + ":" + m["content"] for m in messages) + "|assistant:")
    ask = next(iter(TASK.items(made))).requests[0]
    assert ask.context.startswith("user:") and ask.context.endswith("|assistant:") and ask.until == ()
    plain = next(iter(TASK.items(ctx()))).requests[0]
    assert plain.context.startswith("### Instruction:\n") and plain.until == ("\n### ",)


def test_compat_is_the_published_half(ctx):
    items = list(TASK.items(ctx(mode="compat")))
    assert len(items) == 80
    ask = items[0].requests[0]
    assert (ask.temperature, ask.max_new_tokens) == (0.7, 1024)


def test_soundness_is_about_every_turn(ctx, say):
    item = list(TASK.items(ctx()))[-1]
    assert TASK.mark(item, [say(FINE), say(FINE)]).marks["sound"] == 1.0
    for bad in (say(""), say(FINE * 4), say(FINE, truncated=True)):
        marked = TASK.mark(item, [say(FINE), bad])
        assert marked.marks["sound"] == 0.0
    assert TASK.mark(item, [say(FINE), say("")]).flags["empty"]
    empty = TASK.mark(item, [say(""), say("")]).marks
    assert set(empty.values()) == {0.0}


def test_distinct_pairs_by_hand(ctx, say):
    """a b, b a, a b: two different of three."""
    item = next(iter(TASK.items(ctx())))
    marks = TASK.mark(item, [say("a b a b")]).marks
    assert marks["distinct2"] == 2 / 3 and marks["unique_tokens"] == 2
