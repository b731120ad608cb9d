"""FastChat's templates, turn by turn."""

import pytest

from llmc.evaluate.prompting import fastchat
from llmc.evaluate.prompting.fastchat import Turn

ASKED = [Turn(True, "q"), Turn(False, "a"), Turn(True, "r"), Turn(False, None)]


def test_one_shot_begins_with_its_example_and_ends_open():
    text = fastchat.render(ASKED, "one_shot")
    system, example, *rest = text.split("\n### ")
    assert system == fastchat.ONE_SHOT_SYSTEM and example == f"Human: {fastchat.EXAMPLE_QUESTION}"
    assert rest[0].startswith("Assistant: Of course! Here are some creative ideas")
    assert rest[1:] == ["Human: q", "Assistant: a", "Human: r", "Assistant:"]
    assert len(rest[0].splitlines()) == 10  # eight ideas between two sentences


def test_vicuna_and_llama_2_keep_their_headers():
    assert fastchat.render(ASKED, "vicuna_v1.1") == (
        f"{fastchat.VICUNA_SYSTEM} USER: q ASSISTANT: a</s>USER: r ASSISTANT:"
    )
    assert fastchat.render(ASKED, "llama-2") == (
        f"<s>[INST] <<SYS>>\n{fastchat.LLAMA_2_SAFETY}\n<</SYS>>\n\nq[/INST] a </s><s>[INST] r [/INST]"
    )
    assert fastchat.render(ASKED, "llama-2", header="H").startswith("Hq[/INST]")


@pytest.mark.parametrize(
    ("rendered", "template"),
    [
        (None, "one_shot"),
        ("<|im_start|>user\nq", "one_shot"),
        ("USER: q", "vicuna_v1.1"),
        ("[INST] q", "llama-2"),
    ],
)
def test_a_name_that_fastchat_did_not_know_got_one_shot(rendered, template):
    assert fastchat.guess(rendered) == template
