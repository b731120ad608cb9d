"""How likely the model finds what the dense model answered: the most direct measure of drift."""

from __future__ import annotations

from typing import ClassVar

from llmc.evaluate.continuations import Likelihood
from llmc.evaluate.judge import Case


class DenseLikelihood(Likelihood):
    """The mean log-probability a token of the dense model's own answer after the prompt, in natural logarithms.

    Needs `--dense-run`; cases that the dense run answered under another prompt aren't judged.
    It sees a wrong word and shuffled words; it can't see what the model would write itself.
    """

    name: ClassVar[str] = "dense-likelihood"

    def text(self, case: Case) -> str | None:
        """The dense model's answer."""
        return case.dense


JUDGE = DenseLikelihood
