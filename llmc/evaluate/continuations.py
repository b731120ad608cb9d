"""Log-likelihoods of given answers under the model that is judged: the judges that differ in whose answer it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llmc.evaluate.backends.backend import Backend
from llmc.evaluate.judge import Case, Marks
from llmc.evaluate.task import Ask, Metric


@dataclass(frozen=True)
class Likelihood:
    """The mean log-probability a token of one text of each case after the prompt, in natural logarithms."""

    source: ClassVar[str] = "docs/judges.md"
    metrics: ClassVar[Mapping[str, Metric]] = {"nats_per_token": Metric(range=(None, 0.0))}
    argument: str | None = None

    def revision(self) -> str:
        """The judge is the model under judgement."""
        return "1"

    def check(self, backend: str, tokenizer: Any) -> None:
        """It needs nothing."""

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for the cases that have the text."""
        return nats_per_token([(case.prompt, self.text(case)) for case in cases], model)

    def text(self, case: Case) -> str | None:
        """The text of a case that is scored; None where it has none."""
        raise NotImplementedError


def nats_per_token(pairs: Sequence[tuple[str, str | None]], model: Backend) -> list[Marks]:
    """The mean log-probability a token of each answer after its prompt; None where there is no answer.

    The answer is put after one space unless the prompt or the answer has white space there.
    """
    asks = {i: _ask(prompt, text) for i, (prompt, text) in enumerate(pairs) if text and text.strip()}
    answers = dict(zip(asks, model.answers(list(asks.values())), strict=True))
    found: list[Marks] = []
    for i in range(len(pairs)):
        answer = answers.get(i)
        value = None
        if answer is not None and answer.loglikelihood is not None and answer.n_tokens:
            value = answer.loglikelihood / answer.n_tokens
        found.append({"nats_per_token": value})
    return found


def joined(prompt: str, text: str) -> str:
    """The text as it continues the prompt."""
    return text if prompt[-1:].isspace() or text[:1].isspace() else f" {text}"


def _ask(prompt: str, text: str) -> Ask:
    return Ask(kind="loglikelihood", context=prompt, continuation=joined(prompt, text))
