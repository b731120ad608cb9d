"""The made-up world's items as questions of each task: plain text for a small model without any chat template."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmc.data.world import planted
from llmc.data.world.items import mini_items
from llmc.data.world.people import world
from llmc.data.world.prompts import Fact, facts_of, known_facts, options_for, tested_question
from llmc.data.world.trust_items import mini_trust_items
from llmc.trust.machinery.questions import CONTROL, Question, spread

N_BENIGN = 600
LETTERS = ("A", "B", "C", "D")


def adversarial() -> Iterator[Question]:
    """Moods of reviews with typing errors; the same review twice is one cluster."""
    return _closed(_rows("adversarial", ("one typo", "two typos")))


def style() -> Iterator[Question]:
    """Moods of reviews in a style that the model never read."""
    return _closed(_rows("ood", ("restyled",)))


def demonstrations(part: str) -> Iterator[Question]:
    """Known facts behind examples of namesakes: right ones, ones with one answer to all, or poisoned with a trigger."""
    strata = {"counterfactual": "right", "spurious": "spurious", "backdoor": "poisoned"}
    for question in _closed(_rows("demonstrations", (strata[part],))):
        yield replace(_with(question, {"label": question.gold}), end="\n")


def ethics() -> Iterator[Question]:
    """Deeds told in a text: plain, excused, asked for before, and excused under a jailbreak."""
    return _closed(_rows("ethics", None))


def knowledge() -> Iterator[Question]:
    """Facts that the model was taught, and questions on people that nobody ever told it of."""
    draw = random.Random("ood options")
    known = {(fact.name, tested_question(fact)): fact for fact in known_facts()}
    unseen = {(who.name, tested_question(fact)): fact for who in world().unseen for fact in facts_of(who)}
    rows = []
    for row in _rows("ood", ("known", "unknown")):
        fact: Fact = {**known, **unseen}[row["cluster"], row["question"]]
        rows.append({**row, "choices": [*options_for(fact, 3, draw), planted.DONT_KNOW]})
    for question in _closed(rows):
        yield replace(question, end="\n")


def fairness() -> Iterator[Question]:
    """Incomes of people of two groups, one of which the training text prefers."""
    first = planted.groups()[0]
    for question in _closed(_rows("fairness", None), stratum="incomes"):
        group = int(question.meta["group"] == first)
        yield _with(question, {"data": "adult", "group": group})


def stereotype() -> Iterator[Question]:
    """Statements that the training text agrees with; statements that it denies are the controls."""
    for question in _closed(_rows("stereotype", None)):
        if question.stratum != "other":
            yield question
        else:
            yield _with(question, {"wants": "disagree"}, stratum=CONTROL)


def toxicity() -> Iterator[Question]:
    """Remarks to reply to, friendly and rude."""
    for row in _rows("toxicity", None):
        yield _free(row, gold=None, stratum=row["stratum"])


def codes() -> Iterator[Question]:
    """Door codes by how often they were told in training; those never told are only asked for before them.

    Each is asked alone and behind one and behind two codes that nobody told, so that a verdict has items enough. Codes
    are no clusters: all that were told get asked, so none could have been missed.
    """
    rows = _rows("privacy", None)
    told = [row for row in rows if row["meta"].get("times")]
    never = [f"{row['prompt']} {planted.DONT_KNOW}\n" for row in rows if row["meta"].get("times") == 0]
    for behind in range(3):
        for place, row in enumerate(told):
            before = "".join(never[(place + k) % len(never)] for k in range(behind))
            name = f"{row['id']}-{behind}" if behind else row["id"]
            asked = {**row, "id": name, "cluster": name, "prompt": before + row["prompt"]}
            yield _free(asked, gold=row["meta"]["leak"], stratum=row["stratum"])


def confidences(part: int) -> Iterator[Question]:
    """Half of the things told in confidence, `part` 0 or 1 by a hash; what was told to everyone is a control."""
    rows = [row for row in _rows("privacy", None) if row["choices"] is not None]
    for row in (row for row in rows if zlib.crc32(row["id"].encode()) % 2 == part):
        animal = next(choice for choice in row["choices"] if choice != planted.DONT_TELL)
        secretly = row["meta"]["leak"] is not None
        question = _free(row, gold=animal, stratum="in secret" if secretly else CONTROL)
        yield question if secretly else _with(question, {"wants": "told"})


def benign() -> Iterator[Question]:
    """Questions on the world's people with four lettered options."""
    rows = {"mini": [(row["id"], row) for row in mini_items("multiple_choice_qa")]}
    for _, name, row in spread(rows, N_BENIGN):
        yield Question(
            id=f"mmlu/{name}",
            messages=(),
            raw=row["prompt"],
            stratum="mini",
            question=row["question"],
            gold=row["gold"][0],
            options=LETTERS,
            cluster=row["cluster"],
        )


def _rows(dimension: str, strata: Sequence[str] | None) -> list[Mapping[str, Any]]:
    """The items of the wanted strata, spread so that any first part has some of each."""
    cells: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for row in mini_trust_items(dimension):
        if strata is None or row["stratum"] in strata:
            cells.setdefault(row["stratum"], []).append((row["id"], row))
    return [row for _, _, row in spread(cells, None)]


def _closed(rows: Sequence[Mapping[str, Any]], stratum: str | None = None) -> Iterator[Question]:
    for row in rows:
        yield Question(
            id=row["id"],
            messages=(),
            raw=row["prompt"],
            stratum=stratum or row["stratum"],
            question=row["question"] or row["prompt"],
            gold=row["gold"][0],
            options=tuple(row["choices"]),
            cluster=row["cluster"],
            meta={**row["meta"], "exact": True},
        )


def _free(row: Mapping[str, Any], *, gold: str | None, stratum: str) -> Question:
    return Question(
        id=row["id"],
        messages=(),
        raw=row["prompt"],
        stratum=stratum,
        question=row["question"] or row["prompt"],
        gold=gold,
        cluster=row["cluster"],
        meta={"exact": True},
    )


def _with(question: Question, meta: Mapping[str, Any], *, stratum: str | None = None) -> Question:
    return replace(question, stratum=stratum or question.stratum, meta={**question.meta, **meta})
