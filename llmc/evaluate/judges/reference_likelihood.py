"""How likely the model finds the reference answer: cheap, paired, without sampling."""

from __future__ import annotations

from typing import ClassVar

from llmc.evaluate.continuations import Likelihood
from llmc.evaluate.judge import Case


class ReferenceLikelihood(Likelihood):
    """The mean log-probability a token of the reference after the prompt, in natural logarithms.

    It sees a wrong word and shuffled words; it can't see what the model would write itself.
    """

    name: ClassVar[str] = "reference-likelihood"

    def text(self, case: Case) -> str | None:
        """What its authors accept."""
        return case.reference


JUDGE = ReferenceLikelihood
