"""How likely the model finds what the dense model answered: the most direct measure of drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmc.evaluate.backend import Backend
from llmc.evaluate.judge import Case, Marks
from llmc.evaluate.judges._continuations import nats_per_token
from llmc.evaluate.task import Metric


@dataclass(frozen=True)
class DenseLikelihood:
    """The mean log-probability a token of the dense model's own answer after the prompt, in natural logarithms.

    Needs `--dense-run`; cases that the dense run answered under another prompt aren't judged.
    It sees a wrong word and shuffled words; it can't see what the model would write itself.
    """

    name: ClassVar[str] = "dense-likelihood"
    source: ClassVar[str] = "docs/judges.md"
    metrics: ClassVar[Mapping[str, Metric]] = {"nats_per_token": Metric()}
    argument: str | None = None

    def revision(self) -> str:
        """The judge is the model under judgement."""
        return "1"

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for cases with the dense model's own answer."""
        return nats_per_token([(case.prompt, case.dense) for case in cases], model)


JUDGE = DenseLikelihood
