"""Log-likelihoods of given answers under the model that is judged."""

from __future__ import annotations

from collections.abc import Sequence

from llmc.evaluate.backend import Backend
from llmc.evaluate.judge import Marks
from llmc.evaluate.task import Ask


def nats_per_token(pairs: Sequence[tuple[str, str | None]], model: Backend) -> list[Marks]:
    """The mean log-probability a token of each answer after its prompt; None where there is no answer.

    The answer is put after one space unless the prompt or the answer has white space there.
    """
    asks = {i: _ask(prompt, text) for i, (prompt, text) in enumerate(pairs) if text and text.strip()}
    answers = dict(zip(asks, model.answers(list(asks.values())), strict=True))
    found: list[Marks] = []
    for i in range(len(pairs)):
        answer = answers.get(i)
        known = answer is not None and answer.loglikelihood is not None and answer.n_tokens
        value = answer.loglikelihood / answer.n_tokens if answer and known else None  # type: ignore[operator]
        found.append({"nats_per_token": value})
    return found


def joined(prompt: str, text: str) -> str:
    """The text as it continues the prompt."""
    return text if prompt[-1:].isspace() or text[:1].isspace() else f" {text}"


def _ask(prompt: str, text: str) -> Ask:
    return Ask(kind="loglikelihood", context=prompt, continuation=joined(prompt, text))
