"""Instructions, one turn (Vicuna-80) and two (MT-Bench): does the model still do as it is told?"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from llmc.data.pinned import read
from llmc.evaluate.engine.endings import says_something
from llmc.evaluate.panel import repetitive
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import SHARE, Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.kick_bench.averages import averages
from llmc.kick_bench.conversation import rendered, stops
from llmc.kick_bench.subsets import mini
from llmc.kick_bench.text import exact, first_line

MAX_NEW_TOKENS = 512
PUBLISHED_NEW_TOKENS = 1024


@dataclass(frozen=True)
class InstructionFollowing:
    """Vicuna-80 and MT-Bench prompts; the second turn follows the model's own first answer.

    Without a judge only this can be marked: `sound`, an answer that isn't empty, cut off or going in circles;
    `distinct2`, the share of different word pairs; `unique_tokens`, different words an answer. At `mini` the orders can
    be checked, and `obeyed` is the share carried out. `compat` is the published half: Vicuna-80, sampled at 0.7.
    """

    name: ClassVar[str] = "kick/instruction_following"
    suite: ClassVar[str] = "kick"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 2
    source: ClassVar[str] = "arXiv:2310.01382, section 3.3; arXiv:2306.05685"
    primary: ClassVar[str] = "sound"
    primary_at: ClassVar[Mapping[str, str]] = {"mini": "obeyed"}
    metrics: ClassVar[Mapping[str, Metric]] = {
        "sound": Metric(kind="proportion"),
        "obeyed": Metric(kind="proportion"),
        "distinct2": Metric(range=SHARE),
        "unique_tokens": Metric(range=(0.0, None)),
    }
    notes: ClassVar[tuple[str, ...]] = (
        "Soundness is about form: whether an answer is any good needs a judge (docs/tasks/instruction_following.md).",
    )

    def items(self, ctx: TaskContext) -> Iterable[Item]:
        """All 80 + 80 prompts at `quick` and `full`."""
        if ctx.scale == "mini":
            return [_mini_item(each) for each in mini("instruction_following", ctx.seed)]
        vicuna = filter(None, read(ctx.data_root, "vicuna_bench/question.jsonl").split("\n"))
        items = [
            _item("vicuna", row["question_id"], row["category"], [row["text"]], ctx) for row in map(json.loads, vicuna)
        ]
        if ctx.mode == "compat":
            return items
        bench = map(json.loads, filter(None, read(ctx.data_root, "mt_bench/question.jsonl").split("\n")))
        return items + [_item("mt", row["question_id"], row["category"], row["turns"], ctx) for row in bench]

    def follow_up(self, item: Item, answers: Sequence[Answer]) -> tuple[Ask, ...]:
        """The next turn, with what the model has said so far."""
        turns, ctx = item.meta["turns"], item.meta["ctx"]
        if len(answers) >= len(turns):
            return ()
        messages: list[dict[str, str]] = []
        for turn, answer in zip(turns, answers, strict=False):
            messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer.text or ""}]
        return (_ask([*messages, {"role": "user", "content": turns[len(answers)]}], ctx),)

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        """Every turn must be sound; the counts are over all turns."""
        texts = tuple((answer.text or "").strip() for answer in answers)
        words = [text.lower().split() for text in texts]
        pairs = [pair for each in words for pair in itertools.pairwise(each)]
        fluent = all(says_something(text) and not repetitive(text) for text in texts)
        sound = fluent and not any(a.truncated for a in answers)
        marks: dict[str, float | None] = {
            "sound": float(sound),
            "distinct2": len(set(pairs)) / len(pairs) if pairs else 0.0,
            "unique_tokens": float(len({word for each in words for word in each})),
        }
        if item.gold:
            marks["obeyed"] = exact(first_line(texts[0]), item.gold)
        flags = {"empty": not all(map(says_something, texts))}
        return Marked(marks=marks, flags=flags, answer=texts if len(texts) > 1 else texts[0])

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        """Means over conversations."""
        return averages(scored, self.metrics)


def _ask(messages: Sequence[Mapping[str, str]], ctx: TaskContext) -> Ask:
    published = ctx.mode == "compat"
    n_new = min(PUBLISHED_NEW_TOKENS if published else MAX_NEW_TOKENS, ctx.max_length // 2)
    return Ask(
        kind="generate_until",
        context=rendered(messages, ctx),
        until=stops(ctx),
        max_new_tokens=n_new,
        temperature=0.7 if published else 0.0,
        seed=ctx.seed,
    )


def _item(source: str, number: int, category: str, turns: Sequence[str], ctx: TaskContext) -> Item:
    return Item(
        id=f"{source}-{number:03d}",
        requests=(_ask([{"role": "user", "content": turns[0]}], ctx),),
        stratum=category,
        question=turns[0],
        meta={"turns": tuple(turns), "ctx": ctx},
    )


def _mini_item(each: Mapping[str, Any]) -> Item:
    ask = Ask(kind="generate_until", context=each["prompt"], until=("\n",), max_new_tokens=48)
    return Item(
        id=each["id"],
        requests=(ask,),
        cluster=each["cluster"],
        stratum=each["stratum"],
        question=each["question"],
        gold=tuple(each["gold"]),
        meta={"turns": (each["question"],), "ctx": None},
    )


TASK = InstructionFollowing()
