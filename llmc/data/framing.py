"""What a tokenizer puts around every text: its beginning belongs there, its end doesn't."""

from __future__ import annotations

from typing import Any, NamedTuple

PROBE = "a"


class Frame(NamedTuple):
    """Tokens that a tokenizer adds to a text by itself."""

    lead: tuple[int, ...]
    """Before it: beginning-of-text, in most tokenizers that add anything."""
    tail: tuple[int, ...]
    """After it. A text that goes on has no end, so nobody keeps these."""


def frame_of(tokenizer: Any, text: str = PROBE) -> Frame:
    """What `tokenizer` adds before and after `text`, any text that isn't blank."""
    whole = list(tokenizer(text, verbose=False)["input_ids"])
    bare = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return Frame(tuple(whole[:start]), tuple(whole[start + len(bare) :]))
    return Frame((), ())
