"""Where an answer ends: stop strings, end tokens, and whether it says anything at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def says_something(text: str) -> bool:
    """Whether a text has a letter or a digit, of any script: one without is no answer."""
    return any(character.isalnum() for character in text)


def first_stop(text: str, stops: Iterable[str], *, at_once: bool = False) -> int | None:
    """Where the first of the stop strings begins in `text`; None: nowhere.

    White space before the first visible character is no answer yet, so a stop string of nothing but white space counts
    from that character on, unless `at_once`.
    """
    begin = len(text) - len(text.lstrip())
    places = [text.find(stop, begin if not at_once and stop.isspace() else 0) for stop in stops if stop]
    return min((place for place in places if place >= 0), default=None)


def cut(text: str, stops: Iterable[str], *, at_once: bool = False) -> str:
    """`text` before the first stop string."""
    return text[: first_stop(text, stops, at_once=at_once)]


def end_tokens(tokenizer: Any, *configs: Any) -> set[int]:
    """Every token that ends an answer: the tokenizer's own, and all that a generation or model config names."""
    found = {tokenizer.eos_token_id}
    for config in configs:
        named = getattr(config, "eos_token_id", None)
        found |= set(named) if isinstance(named, list | tuple) else {named}
    return {int(token) for token in found if token is not None}


def end_texts(tokenizer: Any, ends: Iterable[int]) -> tuple[str, ...]:
    """How end tokens look when a model spells them; those that are ordinary text (a line end) are left out."""
    added: Sequence[int] = tuple(getattr(tokenizer, "added_tokens_decoder", {}))
    own = {tokenizer.eos_token_id}
    texts = (str(tokenizer.decode([token], skip_special_tokens=False)) for token in ends if token in {*added, *own})
    return tuple(sorted(text for text in texts if text.strip()))
