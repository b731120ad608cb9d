"""Thoughts that models write before they answer: how they open and close, in prompts and in answers."""

from __future__ import annotations

import re

from llmc.errors import UserError

_TAGS = r"\w*(?:think|thought|reason)\w*"
_OPENING = re.compile(rf"(?:<(?:\w+:)?{_TAGS}>|\[{_TAGS}\]|◁{_TAGS}▷)", re.IGNORECASE)
_PAIRS = (
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|channel>thought", "<channel|>"),
    ("Here is my thought process:", "Here is my response:"),
)
"""Marks that aren't one name in brackets: Command A, Apertus, o1-like distillations, Gemma 4, Granite 3.2."""
_CHANNEL, _FINAL = "<|channel|>", "<|channel|>final<|message|>"
"""Harmony (GPT-OSS): every answer goes through channels, of which the last is for the reader."""
_HARMONY_PROMPT = "<|start|>assistant"
_UNFINISHED = re.compile(r"[<\[◁][\w:]*")


def open_at_end(prompt: str) -> str | None:
    """The mark that closes the thought which `prompt` opens at its end; None: it opens none."""
    text = prompt.rstrip()
    if text.endswith(_HARMONY_PROMPT) and "channel" in text:
        return _FINAL
    found = next((match for match in _OPENING.finditer(text, max(0, len(text) - 60)) if match.end() == len(text)), None)
    if found is not None:
        return _closing(found.group())
    return next((closing for opening, closing in _PAIRS if text.endswith(opening)), None)


def open_at_start(answer: str) -> str | None:
    """The mark that closes the thought with which `answer` begins; None: it begins with none."""
    text = answer.lstrip()
    if text.startswith(_CHANNEL):
        return _FINAL
    found = _OPENING.match(text)
    if found is not None:
        return _closing(found.group())
    return next((closing for opening, closing in _PAIRS if text.startswith(opening)), None)


def may_open(answer: str) -> bool:
    """Whether a longer text that begins with `answer` could begin with a thought."""
    text = answer.lstrip()
    whole = any(opening.startswith(text) for opening, _ in ((_CHANNEL, _FINAL), *_PAIRS))
    return whole or _UNFINISHED.fullmatch(text) is not None


def after_thought(answer: str, closing: str | None) -> str:
    """What follows the thought that `closing` ends (None: the one that `answer` begins with); "" before its end."""
    closing = closing or open_at_start(answer)
    return answer if closing is None else answer.partition(closing)[2]


def refuse_inside_thought(context: str) -> None:
    """Raises `UserError` where an option after `context` would be scored as a part of a thought."""
    if open_at_end(context) is not None:
        raise UserError(
            "it compares likelihoods of options, and the chat template opens a thought and has no switch for that",
            hint="add --no-chat to ask in plain text",
        )


def _closing(opening: str) -> str:
    return f"{opening[0]}/{opening[1:]}"
