"""ROUGE against the reference: a drift signal between levels of one model, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

from llmc.evaluate.backends.backend import Backend
from llmc.evaluate.judge import Case, Marks
from llmc.evaluate.task import SHARE, Metric


@dataclass(frozen=True)
class Rouge:
    """ROUGE-1 recall and ROUGE-L F1, stemmed.

    On 90 summaries of one dense model its rank correlation with GPT-4's coherence was 0.07 to 0.46, that of mere length
    0.63: it shows that answers change, not that they get worse.

    Source: Lin 2004; the `rouge-score` package.
    """

    name: ClassVar[str] = "rouge"
    source: ClassVar[str] = "Lin 2004"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "rouge1_recall": Metric(range=SHARE),
        "rougeL": Metric(range=SHARE),
    }
    argument: str | None = None

    def revision(self) -> str:
        """The package's version."""
        return f"rouge-score {version('rouge-score')}, stemmed"

    def check(self, backend: str, tokenizer: Any) -> None:
        """It needs nothing."""

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for cases with a reference."""
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
        found: list[Marks] = []
        for case in cases:
            if not case.reference:
                found.append({"rouge1_recall": None, "rougeL": None})
                continue
            scores = scorer.score(case.reference, case.answer)
            found.append({"rouge1_recall": float(scores["rouge1"].recall), "rougeL": float(scores["rougeL"].fmeasure)})
        return found


JUDGE = Rouge
