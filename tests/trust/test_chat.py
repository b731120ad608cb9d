"""Benign MMLU through a chat template, and options behind it."""

import pytest

from llmc.evaluate.prompting.chat import Chat
from llmc.trust.dimensions.mmlu import TASK
from tests.evaluate import cutters

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"  # fmt: skip # noqa: E501


@pytest.mark.parametrize("mode", ["fixed", "compat"])
def test_examples_are_turns_but_in_the_published_protocol(mode, context):
    plain = next(iter(TASK.items(context(mode))))
    item = next(iter(TASK.items(context(mode, chat=Chat.of(cutters.framed("none", TEMPLATE))))))
    options = [ask.continuation for ask in item.requests if ask.continuation is not None]
    if mode == "compat":
        assert item.requests[0].context == plain.requests[0].context and options == [" A", " B", " C", " D"]
        return
    prompt = item.requests[0].context
    assert prompt.endswith("<assistant>") and options == ["A", "B", "C", "D"]
    turns = prompt.removesuffix("<assistant>").split("</s>")
    said = [turn.removeprefix("<user>") for turn in turns if turn.startswith("<user>")]
    letters = [turn.removeprefix("<assistant>") for turn in turns if turn.startswith("<assistant>")]
    assert len(said) == len(letters) + 1 and set(letters) <= set("ABCD")
    joined = "".join(a + b for a, b in zip(said, [*(f" {letter}\n\n" for letter in letters), ""], strict=True))
    assert joined == plain.requests[0].context
