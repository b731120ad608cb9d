"""Factoid questions whose answer is one entity: does the model still know it?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llmc.data.pinned import read
from llmc.errors import UserError
from llmc.evaluate.stats.estimate import Estimate, proportion
from llmc.evaluate.task import SHARE, Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.kick_bench.averages import averages
from llmc.kick_bench.conversation import asked
from llmc.kick_bench.subsets import mini, nested, rank, repeated
from llmc.kick_bench.text import accepted_forms, contains, exact, first_line, folded, published_contains, token_f1

N_QUICK = 1000
N_PUBLISHED = 1000
"""The published script asks one more and divides by this."""
MAX_NEW_TOKENS = 32
PROMPT = "Please give answer to this question: {question}\nThe answer is"
REQUEST = "Please give answer to this question: {question}\nGive the answer alone, in a few words."
"""What a model with a chat template is asked, whose turn begins anew and can't go on with a sentence."""


@dataclass(frozen=True)
class FactoidQA:
    """FreebaseQA, closed book. `compat` is the pruning script's protocol.

    `fixed` marks the first line of the continuation; `compat` looks for the answer in prompt and continuation together,
    and divides by one less than it asks.
    """

    name: ClassVar[str] = "kick/factoid_qa"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 2
    source: ClassVar[str] = "arXiv:2310.01382, section 3.1; FreebaseQA (Jiang et al. 2019)"
    primary: ClassVar[str] = "contains"
    metrics: ClassVar[Mapping[str, Metric]] = {
        "contains": Metric(kind="proportion"),
        "exact": Metric(kind="proportion"),
        "f1": Metric(range=SHARE),
    }

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """The questions of the context's scale: 1,000 at `quick`, all of the evaluation split at `full`."""
        if ctx.scale == "mini":
            return [_mini_item(each) for each in mini("factoid_qa", ctx.seed)]
        if ctx.mode == "compat":
            n = N_PUBLISHED + 1 if ctx.scale == "quick" else None
            return repeated([_published(*each, ctx) for each in _published_questions(ctx)[:n]])
        questions = nested(_questions(ctx), lambda each: each[0], N_QUICK if ctx.scale == "quick" else None)
        return [_item(question, gold, ctx) for question, gold in questions]

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """Whether an accepted answer is in the answer; exactly; and how much of it."""
        text = answers[0].text or ""
        gold = item.gold or ()
        if item.meta.get("published"):
            return Marked(marks={"contains": published_contains(item.requests[0].context + text, gold)}, answer=text)
        line = first_line(text)
        said, wanted = folded(line), accepted_forms(gold)
        marks = {"contains": contains(said, wanted), "exact": exact(said, wanted), "f1": token_f1(said, wanted)}
        return Marked(marks=marks, answer=line)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """Shares over questions; in `compat` over one question less, as published."""
        found = averages(scored, self.metrics)
        if scored and all(item.meta.get("published") for item, _ in scored) and len(scored) > 1:
            hits = sum(int(marked.marks["contains"] or 0) for _, marked in scored)
            plain = proportion(hits, len(scored))
            found = {"contains": Estimate(hits / (len(scored) - 1), plain.stderr, len(scored), plain.ci95)}
        return found


def _ask(prompt: str) -> Ask:
    return Ask(kind="generate_until", context=prompt, until=("\n",), max_new_tokens=MAX_NEW_TOKENS)


def _item(question: str, gold: tuple[str, ...], ctx: TaskContext) -> Item:
    asks = (_ask(asked(PROMPT.format(question=question), REQUEST.format(question=question), ctx)),)
    return Item(id=_id(question), requests=asks, question=question, gold=gold)


def _id(question: str) -> str:
    return f"freebaseqa-{rank(question)[:12]}"


def _mini_item(each: Mapping[str, Any]) -> Item:
    return Item(
        id=each["id"],
        requests=(_ask(each["prompt"]),),
        cluster=each["cluster"],
        stratum=each["stratum"],
        question=each["question"],
        gold=tuple(each["gold"]),
    )


def _published(question: str, gold: tuple[str, ...], ctx: TaskContext) -> Item:
    """The published request: a trailing space, room for twice the prompt's tokens, nothing that stops it."""
    prompt = PROMPT.format(question=question) + " "
    n_new = min(2 * len(ctx.encode(prompt)), ctx.max_length // 2)
    ask = Ask(kind="generate_until", context=prompt, max_new_tokens=n_new)
    return Item(id=_id(question), requests=(ask,), question=question, gold=gold, meta={"published": True})


def _published_questions(ctx: TaskContext) -> list[tuple[str, tuple[str, ...]]]:
    """Question and the first parse's first answer names, in the file's order, a question as often as it stands there.

    Of train where it is there; else every line of the evaluation split with its own answer alone.
    """
    train = None if ctx.data_root is None else ctx.data_root / "freebaseqa" / "FreebaseQA-train.json"
    if train is None or not train.is_file():
        return [(question, (answer,)) for question, answer in _pairs(ctx)]
    content = json.loads(train.read_text(encoding="utf-8"))["Questions"]
    return [(each["RawQuestion"], tuple(each["Parses"][0]["Answers"][0]["AnswersName"])) for each in content]


def _questions(ctx: TaskContext) -> list[tuple[str, tuple[str, ...]]]:
    """Each question of the evaluation split once, with the answers of all its lines."""
    found: dict[str, list[str]] = {}
    for question, answer in _pairs(ctx):
        answers = found.setdefault(question, [])
        if answer not in answers:
            answers.append(answer)
    return [(question, tuple(answers)) for question, answers in found.items()]


def _pairs(ctx: TaskContext) -> list[tuple[str, str]]:
    """Question and answer of every line of the evaluation split."""
    pairs = []
    for line in read(ctx.data_root, "freebaseqa/FreebaseQA-eval.txt").splitlines():
        question, bar, answer = line.rpartition("|")
        if not bar:
            raise UserError(f"freebaseqa/FreebaseQA-eval.txt: a line without a bar: {line[:60]!r}")
        pairs.append((_unquoted(question.strip()), answer.strip()))
    return pairs


def _unquoted(question: str) -> str:
    """The question without the quotation marks that a spreadsheet has put around and doubled inside."""
    quoted = len(question) > 1 and question.startswith('"') and question.endswith('"')
    return question[1:-1].replace('""', '"') if quoted else question


TASK = FactoidQA()
