"""The prompts that published compressed-model numbers were measured with, faults included.

Source: trust specification 1.1, 1.2 and 6.1. A system message replaces the template's whole header, the last one
wins, and roles alternate by position whatever they are.
"""

from __future__ import annotations

from llmc.evaluate.prompting import fastchat
from llmc.evaluate.prompting.fastchat import DEFAULT_SYSTEM, LLAMA_2_SAFETY, VICUNA_SYSTEM, Template, Turn
from llmc.trust.prompts.messages import Messages

__all__ = ["DEFAULT_SYSTEM", "LLAMA_2_SAFETY", "STOP", "VICUNA_SYSTEM", "Template", "after", "guess", "render"]

STOP: dict[Template, str | None] = {"redpajama-incite-instruct": "sentence"}
"""The text that ends an answer, of the templates that have one."""


def render(messages: Messages, template: Template) -> str:
    """The prompt as the original builds it."""
    header: str | None = None
    turns: list[Turn] = []
    for message in messages:
        if message["role"] == "system":
            header = message["content"]
        else:
            turns.append(Turn(message["role"] == "user", message["content"]))
    return fastchat.render([*turns, Turn(False, None)], template, header=header)


def guess(rendered: str | None) -> Template:
    """The published template nearest to a model's own, from how it renders a message; None: it has no template."""
    if rendered is None:
        return "redpajama-incite-instruct"
    return "vicuna_v1.1" if "USER:" in rendered else "llama-2"


def after(text: str, template: Template) -> str:
    """The answer as the original passes it on: cut at the template's stop string, or short of its last character.

    Where the stop string is absent the original looks it up at position -1 and so drops the last character.
    """
    stop = STOP.get(template)
    return text if stop is None else text[: text.find(stop)]
