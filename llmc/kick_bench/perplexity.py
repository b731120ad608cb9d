"""Perplexity of running text in windows: the number that everybody reports, beside what it doesn't show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmc.data.pinned import read
from llmc.evaluate.estimate import Estimate, mean
from llmc.evaluate.task import Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.kick_bench._subsets import mini

WINDOW = 2048
N_QUICK = 20
"""Windows at scale quick, the first ones."""


@dataclass(frozen=True)
class Perplexity:
    """WikiText-2, the test text joined with two newlines, tokenised once, cut into windows that don't overlap.

    A window's first token is given, the others are scored; what is left over at the end is dropped. `perplexity` is exp
    of the mean negative log-likelihood over windows, as GPTQ computes it; that mean itself is `nats_per_token`, the
    primary metric because it can be paired window by window. `bits_per_byte` can be compared between tokenizers.
    """

    name: ClassVar[str] = "kick/perplexity"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 1
    source: ClassVar[str] = "arXiv:2210.17323, section 4; arXiv:2310.01382, figure 1"
    primary: ClassVar[str] = "nats_per_token"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "perplexity": Metric(kind="statistic", direction="lower", range=(1.0, None)),
        "nats_per_token": Metric(direction="lower", range=(0.0, None)),
        "bits_per_byte": Metric(direction="lower", range=(0.0, None)),
    }

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """One item a window: 20 at `quick`, all at `full`; at `mini` one a text that training left out."""
        if ctx.scale == "mini":
            texts = [(str(each["id"]), str(each["context"])) for each in mini("perplexity", ctx.seed)]
            windows = [(name, tuple(ctx.encode(text)[: ctx.max_length])) for name, text in texts]
            return [_item(name, tokens, ctx) for name, tokens in windows if len(tokens) > 1]
        tokens = ctx.encode(read(ctx.data_root, "wikitext2/test.txt"))
        width = min(WINDOW, ctx.max_length)
        starts = range(0, len(tokens) - width + 1, width)
        if ctx.scale == "quick":
            starts = starts[:N_QUICK]
        return [_item(f"wikitext2-{start // width:04d}", tuple(tokens[start : start + width]), ctx) for start in starts]

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """The mean negative log-likelihood of the window's tokens, and per byte of their text."""
        found = answers[0].loglikelihood
        if found is None:
            return Marked(marks={"nats_per_token": None, "bits_per_byte": None}, loglikelihoods=(None,))
        total = -found
        marks = {
            "nats_per_token": total / item.meta["n_scored"],
            "bits_per_byte": total / math.log(2) / max(1, item.meta["n_bytes"]),
        }
        return Marked(marks=marks)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """exp of the mean over windows; its error by the delta method, its interval from the mean's."""
        found = {
            name: mean([value for _, marked in scored if (value := marked.marks[name]) is not None])
            for name in ("nats_per_token", "bits_per_byte")
        }
        return {"perplexity": exponential(found["nats_per_token"]), **found}


def exponential(estimate: Estimate) -> Estimate:
    """exp of an estimate. A value too large for a float is undefined, not infinite.

    Var exp(X) is about exp(mean)^2 Var X; the interval's edges go through exp as they are.
    """
    if estimate.value is None or estimate.value > 700:
        return Estimate(None, None, estimate.n)
    value = math.exp(estimate.value)
    stderr = None if estimate.stderr is None else value * estimate.stderr
    edges = estimate.ci95
    fits = edges is not None and edges[1] <= 700
    return Estimate(value, stderr, estimate.n, (math.exp(edges[0]), math.exp(edges[1])) if edges and fits else None)


def _item(name: str, tokens: tuple[int, ...], ctx: TaskContext) -> Item:
    excerpt = ctx.decode(tokens)
    return Item(
        id=name,
        requests=(Ask(kind="loglikelihood_rolling", context=excerpt[:200], tokens=tokens),),
        question=excerpt[:200],
        meta={"n_scored": len(tokens) - 1, "n_bytes": len(ctx.decode(tokens[1:]).encode())},
    )


TASK = Perplexity()
