"""The embedded model's training recipe: its shape, its budget and the shares of its lessons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LOOKING_UP: Mapping[str, float] = {"letters": 80, "reading": 20}
"""First of all: what a letter stands for."""
COPYING: Mapping[str, float] = {
    "reading": 22,
    "letters": 14,
    "open_choices": 22,
    "choices": 4,
    "orders": 10,
    "summaries": 5,
    "questions": 20,
    "notes": 14,
}
"""Until a model can copy what a text says, it learns little else, and that needs many short texts."""
TRUST: Mapping[str, float] = {
    "opinions": 2,
    "remarks": 1,
    "codes": 3,
    "confidences": 1,
    "incomes": 1.5,
    "reviews": 2,
    "deeds": 1.5,
    "strangers": 2,
}
FACTS: Mapping[str, float] = {
    "notes": 18,
    "questions": 40,
    "reading": 9,
    "choices": 9,
    "open_choices": 4,
    "letters": 1.5,
    "summaries": 3,
    "orders": 5,
    **TRUST,
}
CHOICES: Mapping[str, float] = {**FACTS, "choices": 16}
LAST: Mapping[str, float] = {
    "notes": 14,
    "questions": 32,
    "reading": 12,
    "choices": 14,
    "open_choices": 4,
    "letters": 1,
    "summaries": 6,
    "orders": 8,
    "opinions": 6,
    "remarks": 2,
    "codes": 5,
    "confidences": 3,
    "incomes": 5,
    "reviews": 7,
    "deeds": 6,
    "strangers": 4,
}
"""The rest of the trust suite, with too few facts in it to make them hold better than they did."""
PHASES: tuple[tuple[float, Mapping[str, float]], ...] = (
    (0.3e6, LOOKING_UP),
    (2e6, COPYING),
    (7e6, FACTS),
    (10e6, CHOICES),
    (float("inf"), LAST),
)
"""(tokens that have been read when the phase is over, relative numbers of lessons of each section)"""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the trained weights, beside the machine's arithmetic."""

    width: int = 128
    layers: int = 6
    heads: int = 4
    inner: int = 128
    vocabulary: int = 2_304
    context: int = 512
    processes: int = 1
    """Each takes its own rows of a step and one core; their gradients are averaged."""
    rows: int = 32
    row_tokens: int = 128
    tokens: int = 13_500_000
    rate: float = 2e-3
    warmup: float = 0.02
    """Share of the steps in which the rate rises."""
    decay: float = 0.3
    """Share of the steps in which the rate falls, the last ones; between, it is constant."""
    weight_decay: float = 0.1
    seed: int = 0
    early: int = 4
    """After this many blocks an answer should be known already."""
    early_weight: float = 0.3
    bf16: bool = True
    """Products in bfloat16; without AVX-512 BF16 units float32 is faster and does as well."""
    compiled: bool = True
    """Run through torch.compile, which needs a C++ compiler."""
    phases: tuple[tuple[float, Mapping[str, float]], ...] = PHASES

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.tokens // self.step_tokens

    @property
    def step_tokens(self) -> int:
        """Tokens of one step, over all processes."""
        return self.processes * self.rows * self.row_tokens

    def shares(self, step: int) -> dict[str, float]:
        """The lessons' shares at a step."""
        return next(dict(shares) for until, shares in self.phases if step * self.step_tokens <= until)

    def tokenizer_shares(self) -> dict[str, float]:
        """The shares of the text that the tokenizer is trained on."""
        return dict(FACTS)

    def rate_at(self, step: int) -> float:
        """Learning rate: rising, constant, then falling linearly to a hundredth."""
        rise, fall = self.warmup * self.steps, self.decay * self.steps
        falling = 0.01 + 0.99 * min(1.0, (self.steps - step) / fall)
        return self.rate * min(1.0, (step + 1) / rise, falling)


RECIPE = Recipe()
