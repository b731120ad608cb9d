"""Perplexity of running text in windows: the number that everybody reports, beside what it doesn't show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llmc.data.pinned import read
from llmc.evaluate.stats.estimate import Estimate, mean
from llmc.evaluate.task import Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.kick_bench.subsets import mini

WINDOW = 2048
N_QUICK = 20
"""Windows at scale quick, the first ones."""


@dataclass(frozen=True)
class Perplexity:
    """WikiText-2, the test text joined with two newlines, tokenised once, cut into windows that don't overlap.

    A tokenizer that puts tokens before every text (beginning-of-text) has them before every window, and all of the text
    behind them is scored; without one a window's first token is given and the others are scored. In `compat` they stand
    before the first window alone, as published. What is left over at the end is dropped. `perplexity` is exp
    of the mean negative log-likelihood over windows, as GPTQ computes it; that mean itself is `nats_per_token`, the
    primary metric because it can be paired window by window. `bits_per_byte` can be compared between tokenizers.
    """

    name: ClassVar[str] = "kick/perplexity"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 2
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
        tokens = tuple(ctx.encode(read(ctx.data_root, "wikitext2/test.txt")))
        longest, lead = min(WINDOW, ctx.max_length), ctx.lead
        if ctx.mode == "compat" or tokens[: len(lead)] != lead:
            lead = ()
        width, tokens = longest - len(lead), tokens[len(lead) :]
        starts = range(0, len(tokens) - width + 1, width)
        if ctx.scale == "quick":
            starts = starts[:N_QUICK]
        cut = ((f"wikitext2-{start // width:04d}", (*lead, *tokens[start : start + width])) for start in starts)
        return [_item(name, window, ctx) for name, window in cut]

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
    lead = ctx.lead if tokens[: len(ctx.lead)] == ctx.lead and len(ctx.lead) < len(tokens) else ()
    n_given = max(1, len(lead))
    excerpt = ctx.decode(tokens[len(lead) :])
    return Item(
        id=name,
        requests=(Ask(kind="loglikelihood_rolling", context=excerpt[:200], tokens=tokens, n_given=n_given),),
        question=excerpt[:200],
        meta={"n_scored": len(tokens) - n_given, "n_bytes": len(ctx.decode(tokens[n_given:]).encode())},
    )


TASK = Perplexity()
