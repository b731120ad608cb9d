"""The right prompts: the model's own chat template, or a plain form for models without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llmc.trust.prompts.messages import GLAD, Messages

Chat = Callable[[Sequence[Mapping[str, str]]], str]
CUE = "Answer:"


def render(messages: Messages, chat: Chat | None, *, cue: bool = True) -> str:
    """The prompt for `messages`. `cue`: end the plain form with a word that asks for the answer."""
    return plain(messages, cue=cue) if chat is None else chat(_in_turn(messages))


def plain(messages: Messages, *, cue: bool = True) -> str:
    """A text that a model without chat training goes on with: questions and answers in blocks.

    Without `cue` the text ends where the last message does, for texts to be continued.
    """
    blocks: list[str] = []
    for message in messages:
        text = message["content"].strip() if cue else message["content"]
        if message["role"] == "assistant":
            if text != GLAD:
                blocks[-1] += f"{_asked(blocks[-1])}{text}"
        else:
            blocks.append(text)
    prompt = "\n\n".join(blocks)
    return prompt + _asked(blocks[-1]).rstrip() if cue else prompt


def option(prompt: str, text: str, glue: str | None = None) -> str:
    """`text` as it would follow `prompt`: after a space, unless the prompt ends in one or in a mark of a template.

    `glue`: what the chat template of `prompt` puts before an answer; None: the prompt isn't from one.
    """
    if glue is not None:
        return f"{glue}{text}"
    return text if not prompt or prompt[-1].isspace() or prompt[-1] in ">|" else f" {text}"


def _asked(block: str) -> str:
    """What stands between a question and its answer: nothing new where the question already asks for it."""
    return " " if block.rstrip().endswith(":") else f"\n{CUE} "


def _in_turn(messages: Messages) -> list[dict[str, str]]:
    """The messages with neighbours of one role joined, as chat templates demand."""
    joined: list[dict[str, str]] = []
    for message in messages:
        if joined and joined[-1]["role"] == message["role"]:
            joined[-1] = {**message, "content": f"{joined[-1]['content']}\n{message['content']}"}
        else:
            joined.append(dict(message))
    return joined
