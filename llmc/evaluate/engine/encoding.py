"""Text to tokens by lm-eval's conventions, so that its `hf` backend and our engine ask the same things."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, NamedTuple

from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from llmc.data.framing import frame_of
from llmc.errors import UserError

UNBOUNDED = 1_000_000
"""A tokenizer's `model_max_length` above this means that none was set."""


class Prompt(NamedTuple):
    """A prompt that fits."""

    tokens: tuple[int, ...]
    overflowed: bool
    """It lost its beginning to fit."""


def window_of(config: Any, tokenizer: Any, default: int = 2048) -> int:
    """The longest input in tokens that the model was built for.

    Source: lm-eval 0.4.13, `resolve_max_length`.
    """
    text = getattr(config, "text_config", None) or config
    for attribute in ("n_positions", "max_position_embeddings", "n_ctx"):
        value = getattr(text, attribute, None)
        if value is not None:
            return int(value)
    value = getattr(tokenizer, "model_max_length", None)
    return default if value is None or value > UNBOUNDED else int(value)


class Encoder:
    """A tokenizer with lm-eval's rules for the beginning of a text, for empty contexts and for what is too long.

    Source: lm-eval 0.4.13, `TemplateLM._encode_pair` and `HFLM.tok_encode`; a test holds the two equal, but for this:
    what a tokenizer puts before a text (beginning-of-text) stands there once, whatever is cut; what it puts behind a
    text (end-of-text) is left out, because the text goes on.
    """

    def __init__(self, tokenizer: Any, max_length: int, *, n_ids: int | None = None) -> None:
        """`n_ids`: how many tokens the model knows; None asks nothing."""
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._n_ids = n_ids
        prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if prefix is None:
            raise UserError(
                "the tokenizer has neither a beginning-of-text nor an end-of-text token",
                hint="set bos_token or eos_token in tokenizer_config.json",
            )
        self.prefix_token: int = prefix
        self.lead = frame_of(tokenizer).lead
        """What the tokenizer puts before every text."""
        # The options of one question are asked one after the other: their common context is read once.
        self._tokens = lru_cache(maxsize=8)(lambda text: tuple(tokenizer.encode(text, add_special_tokens=False)))

    def encode(self, text: str, *, special: bool | None = None) -> list[int]:
        """The tokens of `text` behind the tokenizer's `lead`, unless it begins so already; `special` False: bare."""
        tokens = list(self._tokens(text))
        if self._n_ids is not None and tokens and max(tokens) >= self._n_ids:
            raise UserError(
                f"the tokenizer gives the id {max(tokens)} and the model knows {self._n_ids}",
                hint="check that tokenizer and weights belong together",
            )
        begun = tokens[:1] == [self.prefix_token] or tuple(tokens[: len(self.lead)]) == self.lead
        return tokens if special is False or begun else [*self.lead, *tokens]

    def decode(self, tokens: Sequence[int], *, special: bool = False) -> str:
        """The text of `tokens`, with special tokens only where asked for."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=not special))

    def pair(self, context: str, continuation: str, *, as_lm_eval: bool = True) -> tuple[list[int], list[int]]:
        """The tokens of a context and of its continuation; a context without tokens becomes the prefix token.

        Together they are the tokens of the joined text, and the continuation begins behind the context's own tokens. If
        the joined text has other ones there, spaces at the context's end go to the continuation; and if that doesn't
        help, whatever differs does. lm-eval (`as_lm_eval`) always moves the spaces, and then drops as many tokens as
        the context has alone.
        """
        if not context:
            before, after = self._behind_nothing(continuation)
        else:
            before, after = self._split(context, continuation, as_lm_eval=as_lm_eval)
        if not after:
            raise UserError(f"the continuation {continuation!r} has no token of its own after its context")
        if len(after) > self.max_length:
            raise UserError(f"a continuation of {len(after)} tokens doesn't fit a window of {self.max_length}")
        return before, after

    def _behind_nothing(self, text: str) -> tuple[list[int], list[int]]:
        nothing, tokens = [*self.lead] or [self.prefix_token], self.encode(text, special=False)
        return nothing, tokens[len(nothing) :] if tokens[: len(nothing)] == nothing else tokens

    def _split(self, context: str, continuation: str, *, as_lm_eval: bool) -> tuple[list[int], list[int]]:
        before, whole = self.encode(context), self.encode(context + continuation)
        if as_lm_eval or whole[: len(before)] != before:
            before = self.encode(context.rstrip()) if context.strip() else before
        n = len(before)
        if not as_lm_eval and whole[:n] != before:
            n = next(i for i, (a, b) in enumerate(zip_longest(before, whole)) if a != b)
        return before[:n] or [*self.lead] or [self.prefix_token], whole[n:]

    def kept(self, tokens: Sequence[int], room: int) -> list[int]:
        """The end of a text that fits in `room` tokens, behind the `lead` that stood before the whole."""
        n = len(self.lead) if tuple(tokens[: len(self.lead)]) == self.lead and len(self.lead) < room else 0
        return list(tokens) if len(tokens) <= room else [*tokens[:n], *tokens[len(tokens) - room + n :]]

    def prompt(self, text: str, max_new_tokens: int, *, as_lm_eval: bool = False) -> Prompt:
        """The tokens to generate after: the end of `text` that leaves room for `max_new_tokens`.

        `as_lm_eval`: cut as lm-eval cuts, which loses the beginning-of-text token.
        """
        room = self.max_length - max_new_tokens
        if room <= 0:
            raise UserError(
                f"{max_new_tokens} new tokens leave no room for a prompt in a window of {self.max_length}",
                hint="ask for a shorter answer or use a model with a longer window",
            )
        tokens = self.encode(text) or [self.prefix_token]
        return Prompt(tuple(tokens[-room:] if as_lm_eval else self.kept(tokens, room)), len(tokens) > room)

    def windows(self, text: str) -> list[tuple[list[int], list[int]]]:
        """A whole text as (given tokens, scored tokens), each pair as long as the window and every token scored once.

        Every window starts with the tokenizer's `lead`. Where it has none they are lm-eval's: the first is given the
        prefix token, the others the last token before.
        """
        tokens = self.encode(text, special=False)
        n = len(self.lead)
        if not n:
            pairs = get_rolling_token_windows(tokens, self.prefix_token, self.max_length, 1)
            return [make_disjoint_window(pair) for pair in pairs]
        if tuple(tokens[:n]) == self.lead:
            tokens = tokens[n:]
        width = self.max_length + 1 - n
        found = []
        for start in range(0, len(tokens), width):
            scored = tokens[start : start + width]
            found.append(([*self.lead, *tokens[max(0, start - width + len(scored)) : start]], scored))
        return found
