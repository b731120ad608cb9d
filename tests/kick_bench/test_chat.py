"""The suite's prompts through a chat template: every task of real data, and none in `compat`."""

import pytest

from llmc.evaluate.prompting.chat import Chat
from llmc.kick_bench.tasks import factoid_qa, multiple_choice_qa, retrieval_qa
from llmc.kick_bench.tasks.multiple_choice_qa import conversation
from tests.evaluate import cutters

TEMPLATE = (
    "{% for m in messages %}{{ '[INST] ' + m.content + ' [/INST]' if m.role == 'user' else ' ' + m.content + '</s>' }}"
    "{% endfor %}"
)
QUESTION = multiple_choice_qa.Question("anatomy", 1, "Which?", ("a", "b", "c", "d"), "B")


@pytest.fixture
def chat():
    return Chat.of(cutters.framed("none", TEMPLATE))


@pytest.mark.parametrize("module", [factoid_qa, retrieval_qa, multiple_choice_qa])
def test_prompts_go_through_the_template_and_are_plain_without_and_in_compat(module, ctx, chat):
    few = {"limit": 1, "encode": str.split, "max_length": 10**6}
    for mode, given, templated in (("fixed", chat, True), ("fixed", None, False), ("compat", chat, False)):
        item = next(iter(module.TASK.items(ctx(mode=mode, chat=given, **few))))
        for ask in item.requests:
            assert (ask.context.startswith("[INST] ") and ask.context.endswith(" [/INST]")) is templated
            assert "The answer is" not in ask.context or not templated


def test_examples_are_turns_that_answer_with_the_letter_and_the_options_follow_the_template(ctx, chat):
    few = {"encode": str.split, "max_length": 10**6}
    item = next(iter(multiple_choice_qa.TASK.items(ctx(chat=chat, **few))))
    asked = item.requests[0]
    assert asked.context.count("[INST]") == 6 and asked.context.count("Answer: [/INST]") == 6
    assert asked.context.count("The following are multiple choice questions") == 1
    assert [ask.continuation for ask in item.requests[:4]] == [" A", " B", " C", " D"]  # this template has a space
    shown = asked.context.split("[/INST]")[1]
    assert shown[:2] in {ask.continuation for ask in item.requests[:4]}
    turns = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    bare = Chat.of(cutters.framed("none", f"{turns}{{% if add_generation_prompt %}}<assistant>{{% endif %}}"))
    item = next(iter(multiple_choice_qa.TASK.items(ctx(chat=bare, **few))))
    assert [ask.continuation for ask in item.requests[:4]] == ["A", "B", "C", "D"]


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_conversation_holds_the_plain_prompts_texts_in_their_order(n):
    shots = [QUESTION._replace(text=f"Shot {i}?", answer="C") for i in range(n)]
    turns = conversation(QUESTION, shots)
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * n + ["user"]
    joined = "".join(f" {t['content']}\n\n" if t["role"] == "assistant" else t["content"] for t in turns)
    assert joined == multiple_choice_qa.prompt(QUESTION, shots, published=False)
