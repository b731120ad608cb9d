"""The text of an answer as its tokens come: where a thought before it ends, and where the answer does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from llmc.evaluate.engine.encoding import Encoder
from llmc.evaluate.engine.endings import cut, end_texts, end_tokens, first_stop
from llmc.evaluate.prompting.thoughts import may_open, open_at_start

LONGEST_MARK = 24
"""Tokens in which a mark that opens or closes a thought is looked for."""


class Job(NamedTuple):
    """A prompt to continue."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    until: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    sample: int = 0
    at_once: bool = False
    """Stop strings count from the first token, white space included: lm-eval's rule."""
    thought_tokens: int = 0
    """Tokens that a thought before the answer may have, beside `max_new_tokens`."""
    closing: str | None = None
    """The mark that closes the thought which the prompt opens."""


class Generated(NamedTuple):
    """What a job gave."""

    text: str
    n_tokens: int
    """A thought's and an end token among them."""
    truncated: bool
    """It ended only because its tokens were used up."""


@dataclass
class Growing:
    """A job under way."""

    index: int
    job: Job
    random: torch.Generator | None
    tokens: list[int] = field(default_factory=list)
    closing: str | None = None
    """The mark that the thought under way ends with; None: there is none."""
    may_think: bool = True
    """What is written so far could be the beginning of a thought."""
    start: int = 0
    """Where in `tokens` the answer begins."""
    rest: str = ""
    """What of the answer stands in the token that closed the thought."""

    held: bool = False
    """What is written is a part of a mark that may open a thought: only the next tokens tell."""

    def full(self) -> bool:
        """Whether no token is left, of the thought's where one is under way, else of the answer's."""
        room = self.job.max_new_tokens if self.closing is None else self.job.thought_tokens
        if self.held:
            room = max(room, min(LONGEST_MARK, self.job.thought_tokens))
        return len(self.tokens) - self.start >= room


class AnswerText:
    """Follows answers token by token; `generation_config` may name more end tokens than the tokenizer."""

    def __init__(self, encoder: Encoder, generation_config: Any) -> None:
        self.encoder = encoder
        self.ends = end_tokens(encoder.tokenizer, generation_config)
        self.end_texts = end_texts(encoder.tokenizer, self.ends)

    def add(self, each: Growing, token: int) -> bool:
        """Append a token; True when the answer is over."""
        each.tokens.append(token)
        if token in self.ends:
            return True
        if each.may_think:
            self._look_for_thought(each)
        if each.closing is not None:
            self._look_for_end_of_thought(each, each.closing)
        return each.full() or (each.closing is None and self._stopped(each))

    def _look_for_thought(self, each: Growing) -> None:
        said = self.encoder.decode(each.tokens, special=True)
        each.closing = open_at_start(said)
        each.may_think = each.closing is None and may_open(said) and len(each.tokens) < LONGEST_MARK
        each.held = each.may_think and not said.isspace()

    def _look_for_end_of_thought(self, each: Growing, closing: str) -> None:
        if closing in self.encoder.decode(each.tokens[-LONGEST_MARK:], special=True):
            each.rest = self.encoder.decode(each.tokens, special=True).partition(closing)[2]
            each.closing, each.start = None, len(each.tokens)

    def _stopped(self, each: Growing) -> bool:
        """Whether a stop string is in the text; one of n bytes is spread over n tokens at most, so few are decoded."""
        if not each.job.until:
            return False
        reach = max(len(stop.encode()) for stop in each.job.until) + 2
        tail = each.rest + self.encoder.decode(each.tokens[each.start :][-reach:], special=True)
        if not any(stop and stop in tail for stop in each.job.until):
            return False
        return first_stop(self._text(each), each.job.until, at_once=each.job.at_once) is not None

    def _text(self, each: Growing) -> str:
        """What is written so far behind any thought, without special tokens and without the token that ended it."""
        tokens = each.tokens[each.start :][: each.job.max_new_tokens]
        return each.rest + self.encoder.decode(tokens[:-1] if tokens and tokens[-1] in self.ends else tokens)

    def finished(self, each: Growing) -> Generated:
        """The answer, cut before a stop string and before an end token that is spelled; none inside a thought."""
        ended, full = each.tokens[-1] in self.ends, each.full()
        if each.closing is not None:
            return Generated("", len(each.tokens), full and not ended)
        text = self._text(each)
        kept = cut(cut(text, self.end_texts), each.job.until, at_once=each.job.at_once)
        n_tokens = min(len(each.tokens), each.start + each.job.max_new_tokens)  # no more for a mark that was none
        ended = ended and n_tokens == len(each.tokens)
        return Generated(kept, n_tokens, full and not ended and len(kept) == len(text))

    def of_one_token(self, token: int, job: Job) -> Generated | None:
        """The answer of one token; None where that token begins a thought, behind which the answer is to be written."""
        each = Growing(0, job, None)
        self.add(each, token)
        return None if each.closing is not None or each.held else self.finished(each)
