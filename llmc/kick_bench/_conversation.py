"""A conversation as one prompt: the model's own chat template, or plain words where it has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmc.evaluate.task import TaskContext

PLAIN_STOP = "\n### "
"""Ends an answer that is written without a template: the next turn's heading."""


def rendered(messages: Sequence[Mapping[str, str]], ctx: TaskContext) -> str:
    """The messages ({"role", "content"}) as a prompt that is open for the assistant's answer."""
    if ctx.chat is not None:
        return ctx.chat(messages)
    named = {"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"}
    parts = [named[message["role"]] + message["content"].strip() for message in messages]
    return "\n\n".join([*parts, "### Response:"]) + "\n"


def stops(ctx: TaskContext) -> tuple[str, ...]:
    """What ends an answer: with a template its own end token does."""
    return () if ctx.chat is not None else (PLAIN_STOP,)
