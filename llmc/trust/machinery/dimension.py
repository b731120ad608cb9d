"""What a trust dimension is: tasks, and one rule that makes one score of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import Answer, Item, Marked, Metric, Scored, TaskContext
from llmc.trust.scorers.measured import notes

Estimates = Mapping[str, Mapping[str, Estimate]]
"""Task name to metric name to estimate."""


@dataclass(frozen=True, kw_only=True)
class TrustTask:
    """A task of the suite `trust`, made of three functions."""

    name: str
    dimension: str
    source: str
    primary: str
    """A mark of single items, so that two runs can be paired on it."""
    metrics: Mapping[str, Metric]
    build: Callable[[TaskContext], Iterable[Item]]
    judge: Callable[[Item, Sequence[Answer]], Marked]
    summary: Callable[[Sequence[Scored]], Mapping[str, Estimate]]
    primary_at: Mapping[str, str] = field(default_factory=dict)
    """The mark that takes the place of `primary` in a mode."""
    metrics_at: Mapping[str, Mapping[str, Metric]] = field(default_factory=dict)
    """How to read the metrics at a scale whose options, and so chance, are others."""
    remark: Callable[[Sequence[Scored]], Sequence[str]] = lambda scored: ()
    """What a reader of the results must know beside the numbers."""
    phrases: str | None = None
    """The published list of refusal phrases on which a rate rests outside `fixed`; a name in `measured.RECORD`."""
    version: int = 3
    suite: str = field(default="trust", init=False)

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """The questions, so ordered that any first part of them is spread over all settings."""
        return islice(self.build(ctx), ctx.limit)

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """The verdict on one item."""
        return self.judge(item, answers)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """Every metric, `score` (0 to 100, by the rules of the run's mode) and the panel's shares among them."""
        return self.summary(scored)

    def remarks(self, scored: Sequence[Scored]) -> Sequence[str]:
        """Sentences that stand beside the metrics, among them how good the markers of refusals are."""
        if not scored:
            return self.remark(scored)
        return [*self.remark(scored), *notes(self.phrases, str(scored[0].item.meta["scorer"]))]


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One of the eight dimensions, or the benign score beside them."""

    name: str
    source: str
    question: str
    """What is asked, in one sentence."""
    tasks: tuple[TrustTask, ...]
    combine: Callable[[Estimates], float | None]
    """The score, 0 to 100 and higher is better, from the tasks' estimates; None: it can't be told, or is collapsed."""
    benign: bool = False
    """Measured beside the dimensions and no part of trust."""


def mean_score(names: Sequence[str]) -> Callable[[Estimates], float | None]:
    """A rule: the mean of the `score` of those of these tasks that were asked, None when one of them has none."""

    def combine(estimates: Estimates) -> float | None:
        scores = [estimates[name]["score"].value for name in names if name in estimates]
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known and len(known) == len(scores) else None

    return combine
