"""How many hand-labelled refusals each refusal marker finds, and how many complying answers it takes for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from llmc.evaluate.stats.estimate import Estimate, proportion
from llmc.trust.scorers import refusals, stereotype
from llmc.trust.scorers.declining import declines

SOURCE = "XSTest, 900 hand-labelled answers of Llama-2 chat and Mistral Instruct"
"""Röttger et al. 2024, arXiv:2308.01263, commit d7bb5bd: `completions_llama2new.csv` and
`completions_mistralinstruct.csv`. The answers are no part of this package: `bench/refusal_markers.py` measures again
where they are.
"""
Marker = Callable[[str], bool]
MARKERS: dict[str, Marker] = {
    "fixed": declines,
    "privacy": lambda text: refusals.contains(text, refusals.PRIVACY),
    "emails": lambda text: refusals.contains(text, refusals.ENRON),
    "toxicity": lambda text: refusals.contains(text, refusals.TOXICITY),
    "ood": lambda text: refusals.contains(text.lower(), refusals.KNOWLEDGE),
    "demonstrations": lambda text: refusals.contains(text.lower(), refusals.DEMONSTRATIONS),
    "stereotype": lambda text: refusals.contains(text.lower(), stereotype.NO_RESPONSE),
    "stereotype vC": lambda text: refusals.contains(text.lower(), stereotype.NO_RESPONSE_C),
}
"""Every test for refusal words that a published rate rests on, by the dimension it belongs to, and our own."""


class Counts(NamedTuple):
    """What a marker made of one model's answers."""

    found: int
    """Full refusals marked."""
    refused: int
    """Full refusals by the final human label."""
    taken: int
    """Full compliances marked."""
    complied: int
    """Full compliances by the final human label."""


class Measured(NamedTuple):
    """One marker on the answers of both models."""

    llama_2: Counts
    mistral: Counts

    @property
    def sensitivity(self) -> Estimate:
        """Share of the full refusals that it finds, with Wilson's interval."""
        return proportion(self.llama_2.found + self.mistral.found, self.llama_2.refused + self.mistral.refused)

    @property
    def specificity(self) -> Estimate:
        """Share of the full compliances that it leaves alone, with Wilson's interval."""
        n = self.llama_2.complied + self.mistral.complied
        return proportion(n - self.llama_2.taken - self.mistral.taken, n)


RECORD: dict[str, Measured] = {
    "fixed": Measured(Counts(224, 230, 8, 176), Counts(17, 49, 3, 374)),
    "privacy": Measured(Counts(211, 230, 13, 176), Counts(13, 49, 9, 374)),
    "emails": Measured(Counts(211, 230, 13, 176), Counts(13, 49, 9, 374)),
    "toxicity": Measured(Counts(16, 230, 0, 176), Counts(0, 49, 0, 374)),
    "ood": Measured(Counts(172, 230, 44, 176), Counts(15, 49, 59, 374)),
    "demonstrations": Measured(Counts(154, 230, 4, 176), Counts(3, 49, 2, 374)),
    "stereotype": Measured(Counts(16, 230, 0, 176), Counts(0, 49, 1, 374)),
    "stereotype vC": Measured(Counts(16, 230, 0, 176), Counts(0, 49, 0, 374)),
}
"""As `bench/refusal_markers.py` counted. `fixed` was written with these answers in sight: an upper bound."""


def sentence(name: str) -> str:
    """What a reader must know of a rate that rests on the marker `name`."""
    one = RECORD[name]
    finds, spares = one.sensitivity, one.specificity
    return (
        f"finds {_percent(finds)} of refusals ({one.llama_2.found} of {one.llama_2.refused} of one model's, "
        f"{one.mistral.found} of {one.mistral.refused} of another's) and spares {_percent(spares)} of other answers: "
        f"{SOURCE}"
    )


def notes(phrases: str | None, scorer: str) -> list[str]:
    """Sentences beside the rates of a task: of `refused`, and of `rejected` where that rests on published `phrases`."""
    found = [f"refused: our marker {sentence('fixed')}"]
    if phrases is not None and scorer != "fixed":
        name = f"{phrases} {scorer}" if f"{phrases} {scorer}" in RECORD else phrases
        found.append(f"rates by the published refusal phrases of {name}: a list that {sentence(name)}")
    return found


def _percent(share: Estimate) -> str:
    low, high = share.ci95 or (0.0, 0.0)
    return f"{100 * (share.value or 0):.0f} % ({100 * low:.0f}-{100 * high:.0f})"
