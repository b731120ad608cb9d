"""How likely the model finds the reference answer: cheap, paired, without sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmc.evaluate.backend import Backend
from llmc.evaluate.judge import Case, Marks
from llmc.evaluate.judges._continuations import nats_per_token
from llmc.evaluate.task import Metric


@dataclass(frozen=True)
class ReferenceLikelihood:
    """The mean log-probability a token of the reference after the prompt, in natural logarithms.

    It sees a wrong word and shuffled words; it can't see what the model would write itself.
    """

    name: ClassVar[str] = "reference-likelihood"
    source: ClassVar[str] = "docs/judges.md"
    metrics: ClassVar[Mapping[str, Metric]] = {"nats_per_token": Metric()}
    argument: str | None = None

    def revision(self) -> str:
        """The judge is the model under judgement."""
        return "1"

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for cases with the reference."""
        return nats_per_token([(case.prompt, case.reference) for case in cases], model)


JUDGE = ReferenceLikelihood
