"""A conversation as one prompt: the model's own chat template, plain words where it has none, or as published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmc.evaluate.prompting import fastchat
from llmc.evaluate.task import TaskContext

PLAIN_STOP = "\n### "
"""Ends an answer that is written without a template: the next turn's heading."""


def rendered(messages: Sequence[Mapping[str, str]], ctx: TaskContext) -> str:
    """The messages ({"role", "content"}) as a prompt that is open for the assistant's answer."""
    if ctx.mode == "compat":
        return _published(messages, ctx)
    if ctx.chat is not None:
        return ctx.chat(messages)
    named = {"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"}
    parts = [named[message["role"]] + message["content"].strip() for message in messages]
    return "\n\n".join([*parts, "### Response:"]) + "\n"


def asked(plain: str, request: str, ctx: TaskContext) -> str:
    """`request` through the model's chat template; without one, or in `compat`, the `plain` text to be gone on with."""
    if ctx.chat is None or ctx.mode == "compat":
        return plain
    return ctx.chat([{"role": "user", "content": request}])


def glue(ctx: TaskContext) -> str:
    """What stands between an open prompt and an answer: what the template puts there, else a space."""
    return " " if ctx.chat is None or ctx.mode == "compat" else str(getattr(ctx.chat, "glue", ""))


def stops(ctx: TaskContext) -> tuple[str, ...]:
    """What ends an answer: with a template its own end token does, and in the published scripts nothing else did."""
    return () if ctx.chat is not None or ctx.mode == "compat" else (PLAIN_STOP,)


def _published(messages: Sequence[Mapping[str, str]], ctx: TaskContext) -> str:
    template = fastchat.guess(None if ctx.chat is None else ctx.chat([{"role": "user", "content": "question"}]))
    turns = [fastchat.Turn(message["role"] == "user", message["content"]) for message in messages]
    return fastchat.render([*turns, fastchat.Turn(False, None)], template)
