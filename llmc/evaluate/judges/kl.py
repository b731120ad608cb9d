"""How far the model's next-token distributions are from the dense model's, on fixed texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from llmc.errors import UserError
from llmc.evaluate.backends.backend import Backend
from llmc.evaluate.continuations import joined
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.engine.likelihood import target
from llmc.evaluate.judge import Case, Marks, needed
from llmc.evaluate.provenance import tokenizer_sha256
from llmc.evaluate.task import Metric
from llmc.models.checkpoint import Checkpoint
from llmc.models.load import load_model, load_tokenizer


@dataclass(frozen=True)
class KL:
    """KL(dense || model) in nats a token, averaged over the tokens of the dense answer, or of the reference.

    The argument is the dense model's folder. It sees the smallest change of all judges, and doesn't say whether it is
    for the worse.
    """

    name: ClassVar[str] = "kl"
    source: ClassVar[str] = "Kullback & Leibler 1951; llama.cpp's perplexity tool"
    metrics: ClassVar[Mapping[str, Metric]] = {"nats_per_token": Metric(direction="lower", range=(0.0, None))}
    argument: str | None = None

    def revision(self) -> str:
        """The dense model's weights."""
        return f"dense model sha256 {Checkpoint(needed(self, 'the dense model')).sha256}"

    def check(self, backend: str, tokenizer: Any) -> None:
        """It reads the distributions of two models with one tokenizer."""
        folder = Path(needed(self, "the dense model's folder"))
        if backend != Engine.name:
            raise UserError("judge kl reads distributions, which only the engine gives", hint="use --backend engine")
        if tokenizer_sha256(load_tokenizer(folder)) != tokenizer_sha256(tokenizer):
            raise UserError(f"{folder} has another tokenizer, so its distributions can't be compared token by token")

    def judge(self, cases: Sequence[Case], model: Backend) -> list[Marks]:
        """Marks for cases with a dense answer or a reference."""
        folder = Path(needed(self, "the dense model's folder"))
        assert isinstance(model, Engine)
        self.check(model.name, model.tokenizer)
        parameters = next(iter(model.network.model.parameters()))
        dense = load_model(folder, dtype=parameters.dtype, device=str(parameters.device))
        other = Engine(dense, model.tokenizer, batch_tokens=model.batch_tokens, max_length=model.max_length)
        return [{"nats_per_token": _mean_kl(case, model, other)} for case in cases]


def _mean_kl(case: Case, model: Engine, dense: Engine) -> float | None:
    text = case.dense or case.reference
    if not text or not text.strip():
        return None
    before, after = model.encoder.pair(case.prompt, joined(case.prompt, text))
    goal = target(before, after, model.max_length)
    ours, theirs = (engine.network.read([goal.row()], [goal.n_scored]) for engine in (model, dense))
    return float(kl_divergence(theirs, ours).mean())


def kl_divergence(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """KL(p || q) in nats of each row, in double precision.

    Shapes: (rows, vocabulary) both; the result (rows,).
    """
    p, q = torch.log_softmax(p_logits.double(), -1), torch.log_softmax(q_logits.double(), -1)
    return (p.exp() * (p - q)).sum(-1).clamp_min(0.0)


JUDGE = KL
