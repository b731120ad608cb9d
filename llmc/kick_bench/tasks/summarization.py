"""Summaries of news in three length bins, from a prompt that doesn't hold the reference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from llmc.errors import UserError
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import SHARE, Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.kick_bench.averages import averages
from llmc.kick_bench.conversation import rendered, stops
from llmc.kick_bench.subsets import in_turn, mini, rank
from llmc.kick_bench.text import contains, normalise

BINS = (("small", 0, 470), ("mid", 471, 789), ("large", 790, 10**9))
"""Words of an article, first and last."""
N_A_BIN = {"quick": 20, "full": 100}
MAX_NEW_TOKENS = 256
REQUEST = (
    "Summarise the following {kind} in less than 150 words. Keep the summary coherent, consistent, fluent and relevant."
)
PUBLISHED_REQUEST = (
    "Summarize the given {kind} in less than 150 words while preserving high coherence, consistency, fluency, and "
    "relevance."
)
FOLDER = "cnn_dailymail/3.0.0"


class Article(NamedTuple):
    """An article and its authors' highlights."""

    id: str
    text: str
    highlights: str


@dataclass(frozen=True)
class Summarization:
    """CNN/DailyMail, marked without a judge: drift signals that show a change and don't say how good a summary is.

    `faithful`: share of the summary's numbers and names that stand in the text. `facts` (mini): share of the words that
    a summary must hold. An empty summary has 0 everywhere. `compat` puts the highlights into the prompt and samples at
    0.7, as published. Prompts that don't fit with their answer are marked by nobody and counted as overflowed.
    """

    name: ClassVar[str] = "kick/summarization"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 2
    source: ClassVar[str] = "arXiv:2310.01382, section 3.2; abisee/cnn_dailymail 3.0.0"
    primary: ClassVar[str] = "rouge1_recall"
    primary_at: ClassVar[Mapping[str, str]] = {"mini": "facts"}
    metrics: ClassVar[Mapping[str, Metric]] = {
        name: Metric(range=SHARE)
        for name in ("rouge1_recall", "rouge1", "rouge2", "rougeL", "faithful", "coverage", "facts")
    }
    notes: ClassVar[tuple[str, ...]] = (
        "ROUGE is a drift signal between levels of one model: within a model it hardly follows a judge's opinion.",
    )

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """20 articles a length bin at `quick`, 100 at `full`, the bins in turn."""
        if ctx.scale == "mini":
            return [_mini_item(each) for each in mini("summarization", ctx.seed)]
        articles = sorted(_articles(ctx), key=lambda article: rank(article.id))
        return [_item(each, ctx) for each in in_turn(articles, lambda each: bin_of(each.text), N_A_BIN[ctx.scale])]

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """The summary against the reference and against the text."""
        summary = (answers[0].text or "").strip()
        reference = "\n".join(item.gold or ())
        if answers[0].overflowed:
            return Marked(marks=dict.fromkeys(self.metrics), answer=summary)
        marks: dict[str, float | None] = dict.fromkeys(self.metrics)
        marks |= rouge(summary, reference)
        marks["faithful"] = faithful(summary, item.meta["text"])
        marks["coverage"] = coverage(summary, item.meta["text"])
        if item.meta["facts"]:
            marks["facts"] = sum(contains(summary, [fact]) for fact in item.meta["facts"]) / len(item.meta["facts"])
        return Marked(marks=marks, answer=summary)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """Means over the articles that could be marked."""
        found = averages(scored, self.metrics)
        return {name: each for name, each in found.items() if each.n or name == self.primary}


def bin_of(text: str) -> str:
    """The length bin of an article."""
    n_words = len(text.split())
    return next(name for name, first, last in BINS if first <= n_words <= last)


def rouge(summary: str, reference: str) -> dict[str, float | None]:
    """ROUGE-1, -2 and -L F1 and ROUGE-1 recall, stemmed; all 0 for an empty summary.

    Source: Lin 2004; the `rouge-score` package.
    """
    from rouge_score.rouge_scorer import RougeScorer

    found = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True).score(reference, summary)
    return {
        **{name: float(each.fmeasure) for name, each in found.items()},
        "rouge1_recall": float(found["rouge1"].recall),
    }


_NAMED = re.compile(r"\b(?:[A-Z][\w'-]+|\d[\d.,]*)")
_SENTENCE = re.compile(r"(?:^|[.!?]\s+|\n)\s*$")


def faithful(summary: str, text: str) -> float | None:
    """The share of a summary's numbers and capitalised words that stand in the text; 0 for an empty summary.

    None where it has no such word. A word that opens a sentence is passed over, since it is capitalised anyway.
    """
    if not summary.strip():
        return 0.0
    known = set(normalise(text).split())
    named = [m.group() for m in _NAMED.finditer(summary) if m.group()[0].isdigit() or not _opens(summary, m.start())]
    words = [word for each in named for word in normalise(each).split()]
    return sum(word in known for word in words) / len(words) if words else None


def _opens(text: str, start: int) -> bool:
    return bool(_SENTENCE.search(text[:start])) or not text[:start].strip()


def coverage(summary: str, text: str) -> float:
    """The share of a summary's words that stand in the text; 0 for an empty summary."""
    known = set(normalise(text).split())
    words = normalise(summary).split()
    return sum(word in known for word in words) / len(words) if words else 0.0


def _item(article: Article, ctx: TaskContext) -> Item:
    place = bin_of(article.text)
    published = ctx.mode == "compat"
    request = (PUBLISHED_REQUEST if published else REQUEST).format(kind="story" if place == "small" else "news")
    text = _joined(article) if published else article.text
    prompt = rendered([{"role": "user", "content": f"{request}\n\n{text}"}], ctx)
    n_new = min(1024 if published else MAX_NEW_TOKENS, ctx.max_length // 2)
    temperature = 0.7 if published else 0.0
    ask = Ask(
        kind="generate_until",
        context=prompt,
        until=stops(ctx),
        max_new_tokens=n_new,
        temperature=temperature,
        seed=ctx.seed,
    )
    return Item(
        id=f"cnn-{article.id}",
        requests=(ask,),
        stratum=place,
        question=article.text[:200],
        gold=(article.highlights,),
        meta={"text": article.text, "facts": ()},
    )


def _joined(article: Article) -> str:
    """All lines of the story's file, the reference among them, stripped and with nothing between them, as published."""
    marked = [part for line in article.highlights.splitlines() for part in ("@highlight", line)]
    return "".join(line.strip() for line in [*article.text.splitlines(), *marked])


def _mini_item(each: Mapping[str, Any]) -> Item:
    return Item(
        id=each["id"],
        requests=(Ask(kind="generate_until", context=each["prompt"], until=("\n",), max_new_tokens=96),),
        cluster=each["cluster"],
        stratum=each["stratum"],
        question=each["context"][:200],
        gold=tuple(each["gold"]),
        meta={"text": each["context"], "facts": tuple(each["facts"])},
    )


def _articles(ctx: TaskContext) -> list[Article]:
    """The test articles from the hub's parquet files."""
    from pyarrow import parquet

    folder = None if ctx.data_root is None else ctx.data_root / FOLDER
    files = sorted(folder.glob("test-*.parquet")) if folder is not None else []
    if not files:
        raise UserError(
            f"summarization needs CNN/DailyMail: no test-*.parquet under {folder or '--data-root'}",
            hint="run `hf download abisee/cnn_dailymail --repo-type dataset --local-dir DATA_ROOT/cnn_dailymail`",
        )
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    return [Article(row["id"], row["article"], row["highlights"]) for row in rows]


TASK = Summarization()
