"""Questions asked twice, without and with a text that may answer them: knowing against reading."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from llmc.data.pinned import read
from llmc.evaluate.engine.endings import says_something
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import SHARE, Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.kick_bench.averages import averages
from llmc.kick_bench.conversation import asked
from llmc.kick_bench.passages import evidence
from llmc.kick_bench.subsets import mini, nested, rank, repeated
from llmc.kick_bench.text import (
    accepted_forms,
    contains,
    exact,
    first_line,
    folded,
    published_line,
    published_match,
    token_f1,
)

N_ITEMS = {"quick": 500, "full": 4000}
N_PUBLISHED = 2000
PUBLISHED_CHARACTERS = 3072
"""Where the published script cuts the evidence, wherever the answer is."""
BUDGET_TOKENS = 768
"""Evidence in the prompt at most."""
MAX_NEW_TOKENS = 32
CLOSED = "Answer these questions:\n\nQ: {question}\nA:"
CLOSED_REQUEST = "Answer this question: {question}\nGive the answer alone, in a few words."
OPEN_REQUEST = "{text}\n\nBased on this text, answer this question: {question}\nGive the answer alone, in a few words."
OPEN_END = "Based on these texts, answer these questions:\n\nQ: {question}\nA:"
OPEN = "{text}\n\n" + OPEN_END


class Example(NamedTuple):
    """A question with the text to read."""

    id: str
    cluster: str
    question: str
    text: str
    gold: tuple[str, ...]


@dataclass(frozen=True)
class RetrievalQA:
    """TriviaQA (rc, validation), closed and open book; XQuAD's English questions stand in where it isn't there.

    `gain`: open less closed. `copy`: open book where an accepted answer stands in the text, the stratum "present".
    `compat` marks as published, where an empty answer is a hit.
    """

    name: ClassVar[str] = "kick/retrieval_qa"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 2
    source: ClassVar[str] = "arXiv:2310.01382, section 3.2; arXiv:1705.03551; arXiv:1910.11856"
    primary: ClassVar[str] = "open"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "open": Metric(kind="proportion"),
        "closed": Metric(kind="proportion"),
        "gain": Metric(range=(-1.0, 1.0)),
        "copy": Metric(kind="proportion"),
        "present": Metric(kind="proportion"),
        "open_exact": Metric(kind="proportion"),
        "closed_exact": Metric(kind="proportion"),
        "open_f1": Metric(range=SHARE),
        "closed_f1": Metric(range=SHARE),
    }

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """500 questions at `quick`, 4,000 at `full`, each once."""
        if ctx.scale == "mini":
            return _mini_items(ctx)
        examples = _examples(ctx, again=ctx.mode == "compat")
        if ctx.mode == "compat":
            n = N_PUBLISHED if ctx.scale == "full" else N_ITEMS["quick"]
            return repeated([_published(each) for each in examples[:n]])
        return [_item(each, ctx) for each in nested(examples, lambda each: each.id, N_ITEMS[ctx.scale])]

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """Both answers by whole-word containment, exactly, and by F1; published: by containment either way."""
        published = item.meta["published"]
        gold = (item.gold or ()) if published else accepted_forms(item.gold or ())
        lines = _lines(item, [answer.text or "" for answer in answers])
        marks: dict[str, float | None] = {}
        for book, written in zip(("closed", "open"), lines, strict=True):
            line = written if published else folded(written)
            marks[book] = published_match(line, gold) if published else contains(line, gold)
            marks[f"{book}_exact"] = exact(line, gold)
            marks[f"{book}_f1"] = token_f1(line, gold)
        marks["gain"] = (marks["open"] or 0.0) - (marks["closed"] or 0.0)
        marks["present"] = float(item.meta["present"])
        marks["copy"] = marks["open"] if item.meta["present"] else None
        # The flag is about either answer: an empty one mustn't hide behind the other.
        return Marked(marks=marks, flags={"empty": not all(map(says_something, lines))}, answer=tuple(lines))

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """Shares of questions; those of one text are a cluster."""
        return averages(scored, self.metrics)


def _asks(closed: str, opened: str, *, until: tuple[str, ...] = ("\n",)) -> tuple[Ask, Ask]:
    def ask(prompt: str) -> Ask:
        return Ask(kind="generate_until", context=prompt, until=until, max_new_tokens=MAX_NEW_TOKENS)

    return ask(closed), ask(opened)


def _build(each: Example, text: str, prompts: tuple[str, str], *, published: bool) -> Item:
    present = bool(contains(text, each.gold) if published else contains(folded(text), accepted_forms(each.gold)))
    return Item(
        id=each.id,
        # Nothing stops the published script: it strips first, and a line that begins with a new line isn't empty.
        requests=_asks(*prompts, until=() if published else ("\n",)),
        cluster=each.cluster,
        stratum="present" if present else "absent",
        question=each.question,
        gold=each.gold,
        meta={"present": present, "published": published},
    )


def _item(each: Example, ctx: TaskContext) -> Item:
    budget = min(BUDGET_TOKENS, ctx.max_length // 2)
    text = evidence(each.question, each.text, budget, lambda part: len(ctx.encode(part)))
    plain, requests = (CLOSED, OPEN), (CLOSED_REQUEST, OPEN_REQUEST)
    fields = {"text": text, "question": each.question}
    closed, opened = (asked(a.format(**fields), b.format(**fields), ctx) for a, b in zip(plain, requests, strict=True))
    return _build(each, text, (closed, opened), published=False)


def _lines(item: Item, texts: Sequence[str]) -> list[str]:
    """The line of each answer that is marked; published: up to where it repeats its question, at which they split."""
    if not item.meta["published"]:
        return [first_line(text) for text in texts]
    ends = (end.format(question=item.question) for end in (CLOSED, OPEN_END))
    return [published_line(text.split(end)[0]) for text, end in zip(texts, ends, strict=True)]


def _published(each: Example) -> Item:
    text = each.text[:PUBLISHED_CHARACTERS]
    prompts = CLOSED.format(question=each.question).strip(), OPEN.format(text=text, question=each.question).strip()
    return _build(each, text, prompts, published=True)


def _mini_items(ctx: TaskContext) -> list[Item]:
    """The mini world's questions; its own strata say whether the person is known and the text has the answer."""
    closed = {each["id"]: each for each in mini("retrieval_qa_closed", ctx.seed)}
    items = []
    for each in mini("retrieval_qa_open", ctx.seed):
        items.append(
            Item(
                id=each["id"],
                requests=_asks(closed[each["id"]]["prompt"], each["prompt"]),
                cluster=each["cluster"],
                stratum=each["stratum"],
                question=each["question"],
                gold=tuple(each["gold"]),
                meta={"present": bool(contains(each["context"], each["gold"])), "published": False},
            )
        )
    return items


def _examples(ctx: TaskContext, *, again: bool) -> list[Example]:
    folder = None if ctx.data_root is None else ctx.data_root / "trivia_qa" / "rc"
    if folder is not None and (files := sorted(folder.glob("validation-*.parquet"))):
        return _trivia(files, again=again)
    return _xquad(json.loads(read(ctx.data_root, "xquad/xquad.en.json")))


def _xquad(content: Mapping[str, Any]) -> list[Example]:
    found = []
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            cluster = f"xquad-{rank(paragraph['context'])[:12]}"
            for each in paragraph["qas"]:
                gold = tuple(dict.fromkeys(answer["text"] for answer in each["answers"]))
                found.append(Example(each["id"], cluster, each["question"], paragraph["context"], gold))
    return found


def _trivia(files: Sequence[Path], *, again: bool) -> list[Example]:
    """The questions with their first Wikipedia page and first search result, from the hub's parquet files.

    Each once; `again`: every row, as published, though questions come back.
    """
    from pyarrow import parquet

    found: set[str] = set()
    rows: list[Example] = []
    for file in files:
        for row in parquet.read_table(file).to_pylist():
            if row["question_id"] in found and not again:
                continue
            pages = (row["entity_pages"]["wiki_context"] or [])[:1]
            results = (row["search_results"]["search_context"] or [])[:1]
            gold = tuple(row["answer"]["normalized_aliases"])
            text = "".join(pages + results)
            rows.append(Example(row["question_id"], row["question_id"], row["question"], text, gold))
            found.add(row["question_id"])
    return rows


TASK = RetrievalQA()
