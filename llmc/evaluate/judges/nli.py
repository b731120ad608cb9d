"""Faithfulness sentence by sentence, by a local model of natural-language inference."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from llmc.errors import UserError
from llmc.evaluate.backends.backend import Backend
from llmc.evaluate.judge import Case, Marks, needed
from llmc.evaluate.task import SHARE, Metric
from llmc.models.checkpoint import Checkpoint
from llmc.models.load import load_tokenizer

CHUNK_WORDS = 120
"""Words of the source that a sentence is held against at a time."""
BATCH = 16
Entails = Callable[[Sequence[tuple[str, str]]], list[float]]


@dataclass(frozen=True)
class NLI:
    """The mean over an answer's sentences of the best probability that some part of the prompt entails it.

    The argument is the folder of a sequence-classification model with a label for entailment. 0 for an empty answer.

    Source: Laban et al. 2022, arXiv:2111.09525, SummaC zero-shot.
    """

    name: ClassVar[str] = "nli"
    source: ClassVar[str] = "arXiv:2111.09525"
    metrics: ClassVar[Mapping[str, Metric]] = {"faithful": Metric(range=SHARE)}
    argument: str | None = None

    def revision(self) -> str:
        """The classifier's weights."""
        return f"{self.argument} sha256 {Checkpoint(needed(self, 'a classifier')).sha256}"

    def check(self, backend: str, tokenizer: Any) -> None:
        """It needs a classifier with a label for entailment."""
        from transformers import AutoConfig

        folder = Path(needed(self, "the folder of a classifier for natural-language inference"))
        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # the library raises many kinds for one cause: it doesn't know this model
            raise UserError(f"{folder} is no classifier that transformers can load", hint="give another") from error
        _entailment(folder, config)
        load_tokenizer(folder)

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for all cases."""
        entails = classifier(Path(needed(self, "the folder of a classifier for natural-language inference")))
        return [{"faithful": faithfulness(case.prompt, case.answer, entails)} for case in cases]


def sentences(text: str) -> list[str]:
    """The sentences of a text, cut after full stops, question and exclamation marks and at line ends."""
    return [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def chunks(text: str) -> list[str]:
    """The text in overlapping parts, so that no sentence is only ever seen cut."""
    words = text.split()
    step = CHUNK_WORDS // 2
    return [" ".join(words[i : i + CHUNK_WORDS]) for i in range(0, max(1, len(words) - step), step)]


def faithfulness(source: str, answer: str, entails: Entails) -> float:
    """The mean over sentences of the best entailment by any part of the source; 0 for an empty answer."""
    parts, said = chunks(source), sentences(answer)
    if not said:
        return 0.0
    scores = entails([(part, sentence) for sentence in said for part in parts])
    return sum(max(scores[i * len(parts) : (i + 1) * len(parts)]) for i in range(len(said))) / len(said)


def classifier(folder: Path) -> Entails:
    """The probability of entailment for (premise, hypothesis) pairs, by the model in `folder`."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    Checkpoint(folder)
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True, **options).eval()
    wanted = _entailment(folder, model.config)

    @torch.no_grad()
    def entails(pairs: Sequence[tuple[str, str]]) -> list[float]:
        found: list[float] = []
        for i in range(0, len(pairs), BATCH):
            batch = pairs[i : i + BATCH]
            premises, hypotheses = [pair[0] for pair in batch], [pair[1] for pair in batch]
            inputs = tokenizer(premises, hypotheses, truncation="only_first", padding=True, return_tensors="pt")
            found += torch.softmax(model(**inputs).logits.float(), -1)[:, wanted].tolist()
        return found

    return entails


def _entailment(folder: Path, config: Any) -> int:
    """The column of the label for entailment."""
    labels = {str(label).lower(): int(i) for i, label in config.id2label.items()}
    wanted = [i for label, i in labels.items() if "entail" in label and "not" not in label]
    if not wanted:
        raise UserError(f"{folder} has no label for entailment, only {', '.join(labels)}")
    return wanted[0]


JUDGE = NLI
