"""Who answers: our engine, or any lm-eval model class behind the same face."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from lm_eval.api.model import TemplateLM

from llmc.errors import UserError
from llmc.evaluate.engine.endings import cut
from llmc.evaluate.prompting.thoughts import after_thought, open_at_end, refuse_inside_thought
from llmc.evaluate.task import Answer, Ask, finite

THOUGHT_TOKENS = 1024
"""Tokens that a thought may have before the answer, beside the answer's own."""
CHUNK = 256
"""Requests that another backend gets, and that are stored, at a time."""
FIRST_CHUNK = 16
"""Generations that it gets the first time: how long they take decides on the next."""
STORE_S = 60.0
"""Seconds that a chunk of generations should take at most."""


class Backend(Protocol):
    """Answers requests. `known` holds earlier answers by request key; `store` gets new ones as they come."""

    name: str
    scores_tokens: bool

    def answers(
        self,
        asks: Sequence[Ask],
        *,
        known: Mapping[str, Answer] | None = None,
        store: Callable[[Sequence[tuple[str, Answer]]], None] = ...,
        tick: Callable[[int], None] = ...,
    ) -> list[Answer]: ...


class LmEvalBackend:
    """An lm-eval model class as a backend. Its sampling has no seed of ours, and it hides lengths and overflows.

    Stop strings of white space alone are cut here, because it would stop at a line end before the answer; and so is
    everything where the prompt opens a thought. `end_texts`: what ends an answer wherever it stands in its text.
    """

    def __init__(self, name: str, lm: Any, end_texts: Sequence[str] = ()) -> None:
        self.name, self.lm = name, lm
        self.end_texts = tuple(end_texts)
        self.scores_tokens = isinstance(lm, TemplateLM)
        """Whether it can score tokens as they are, of which a perplexity by windows consists."""

    def answers(
        self,
        asks: Sequence[Ask],
        *,
        known: Mapping[str, Answer] | None = None,
        store: Callable[[Sequence[tuple[str, Answer]]], None] = lambda batch: None,
        tick: Callable[[int], None] = lambda n: None,
    ) -> list[Answer]:
        """An answer to every request, in their order."""
        found = dict(known or {})
        unique = {ask.key(): ask for ask in asks}
        for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
            keys = [key for key, ask in unique.items() if ask.kind == kind]
            first, size = 0, FIRST_CHUNK if kind == "generate_until" else CHUNK
            while part := keys[first : first + size]:
                first, since = first + size, time.monotonic()
                missing = [key for key in part if key not in found]
                if missing:
                    batch = [
                        *self._asked(kind, {key: unique[key] for key in missing if unique[key].tokens is None}),
                        *self._scored({key: unique[key] for key in missing if unique[key].tokens is not None}),
                    ]
                    store(batch)
                    found.update(batch)
                    took = (time.monotonic() - since) * size / len(missing)
                    size = min(CHUNK, 2 * size) if 2 * took < STORE_S else max(1, size // 2) if took > STORE_S else size
                tick(len(part))
        return [found[ask.key()] for ask in asks]

    def _asked(self, kind: str, asks: Mapping[str, Ask]) -> list[tuple[str, Answer]]:
        if not asks:
            return []
        for ask in asks.values():
            if ask.continuation is not None:
                refuse_inside_thought(ask.context)
        raw = getattr(self.lm, kind)([_sent(ask).instance("llmc", i) for i, ask in enumerate(asks.values())])
        if kind == "generate_until":
            raw = [self._said(str(text), ask) for text, ask in zip(raw, asks.values(), strict=True)]
        return [(key, _answer(kind, each)) for key, each in zip(asks, raw, strict=True)]

    def _said(self, text: str, ask: Ask) -> str:
        """The answer in what the model wrote: behind a thought, before an end token's text and the stop strings."""
        answer = after_thought(text, open_at_end(ask.context))
        return cut(cut(answer, self.end_texts), ask.until, at_once=ask.as_lm_eval)

    def _scored(self, asks: Mapping[str, Ask]) -> list[tuple[str, Answer]]:
        """The likelihood of the tokens behind those that are given."""
        if not asks:
            return []
        windows = [(list(ask.tokens or ()), ask.n_given) for ask in asks.values()]
        raw = self.lm._loglikelihood_tokens([(("", ""), tokens[:n], tokens[n:]) for tokens, n in windows])
        return [(key, _answer("loglikelihood", each)) for key, each in zip(asks, raw, strict=True)]


def _sent(ask: Ask) -> Ask:
    """The request as the other backend gets it."""
    if ask.kind != "generate_until" or ask.as_lm_eval:
        return ask
    if open_at_end(ask.context) is not None:
        return replace(ask, until=(), max_new_tokens=ask.max_new_tokens + THOUGHT_TOKENS)
    return replace(ask, until=tuple(stop for stop in ask.until if not stop.isspace()))


def _answer(kind: str, raw: Any) -> Answer:
    if kind == "generate_until":
        return Answer(text=raw)
    if kind == "loglikelihood":
        return Answer(loglikelihood=finite(float(raw[0])), is_greedy=bool(raw[1]))
    return Answer(loglikelihood=finite(float(raw)))


def scores_tokens(name: str) -> bool:
    """Whether the lm-eval model class registered as `name` can score tokens as they are; makes none of it."""
    with _sentences(name):
        return issubclass(_model_class(name), TemplateLM)


def lm_eval_backend(name: str, arguments: Mapping[str, Any], end_texts: Sequence[str] = ()) -> LmEvalBackend:
    """The lm-eval model class registered as `name`, made with `arguments`; see the class for `end_texts`."""
    with _sentences(name):
        made = _model_class(name)(**arguments)
    return LmEvalBackend(name, made, end_texts)


def _model_class(name: str) -> Any:
    from lm_eval.api.registry import get_model

    return get_model(name)


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """A `UserError` for what a person can mend about a backend."""
    try:
        yield
    except (ImportError, ModuleNotFoundError) as error:
        raise UserError(f"backend {name} needs a package that isn't installed: {error}") from error
    except (KeyError, ValueError) as error:
        raise UserError(f"backend {name} can't be used: {error}", hint="engine and hf are always there") from error
