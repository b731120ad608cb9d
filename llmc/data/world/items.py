"""The test items of the knowledge suite at scale mini: five task types and text for perplexity.

Questions on known people use the phrasing that the training text never used for that fact. Texts to read and to sum up
are about unseen people, of whom the training text has no word. Orders are on words that training leaves out.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from llmc.data.world.orders import KINDS, do, order
from llmc.data.world.passages import BINS, passage, passage_with, retell, story
from llmc.data.world.people import Entity, world
from llmc.data.world.prompts import (
    LETTERS,
    Fact,
    ask,
    choose,
    facts_of,
    given,
    known_facts,
    options_for,
    tested_question,
)
from llmc.data.world.text import heldout_documents
from llmc.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable

Item = dict[str, Any]

N_FACTOIDS = 600
N_READING = {"unseen": 240, "known": 120, "absent": 60}
N_STORIES = 40
"""Stories a length bin."""
N_ORDERS = 40
"""Orders a kind."""


def mini_items(task: str, seed: int = 0) -> list[Item]:
    """The items of a task, the same for the same seed.

    Keys: id, cluster, stratum, question, context, choices, gold (accepted strings), prompt (the answer ends at a
    newline). Multiple choice adds gold_index and prompt_text, under which the options' own texts can be compared;
    summaries add facts, the words that a summary must hold.
    """
    if task not in TASKS:
        raise unknown("mini task", task, TASKS)
    # Closed and open book ask the same questions: one name seeds both.
    return TASKS[task](random.Random(f"{task.removesuffix('_closed').removesuffix('_open')}/{seed}"))


def _item(task: str, number: int, **fields: Any) -> Item:
    empty: Item = {"cluster": None, "stratum": None, "question": None, "context": None, "choices": None, "gold": []}
    return {"id": f"{task}-{number:04d}", **empty, **fields}


def _factoids(rng: random.Random) -> list[Item]:
    return [
        _item(
            "factoid_qa",
            i,
            cluster=fact.name,
            stratum=fact.attribute,
            question=tested_question(fact),
            gold=[fact.value],
            prompt=ask(tested_question(fact)),
        )
        for i, fact in enumerate(rng.sample(known_facts(), N_FACTOIDS))
    ]


def _choices(rng: random.Random) -> list[Item]:
    items = []
    for i, fact in enumerate(rng.sample(known_facts(), N_FACTOIDS)):
        options = options_for(fact, 4, rng)
        index = options.index(fact.value)
        text = tested_question(fact)
        fields = {"question": text, "choices": options, "gold": [LETTERS[index]], "gold_index": index}
        prompts = {"prompt": choose(text, options), "prompt_text": ask(text)}
        items.append(_item("multiple_choice_qa", i, cluster=fact.name, stratum=fact.attribute, **fields, **prompts))
    return items


def _retrieval(rng: random.Random) -> list[tuple[str, Fact, str]]:
    """(stratum, fact, text): the text answers the question, except in the stratum `absent`."""
    people: dict[str, list[Entity]] = {
        "unseen": [rng.choice(world().unseen) for _ in range(N_READING["unseen"])],
        "known": rng.sample(world().people, N_READING["known"]),
        "absent": rng.sample(world().people, N_READING["absent"]),
    }
    asked = []
    for stratum, entities in people.items():
        for entity in entities:
            fact = rng.choice(facts_of(entity))
            if stratum == "absent":
                text = passage(rng.choice(world().unseen), [rng.choice(world().unseen)], rng).text
            else:
                text = passage_with(fact, entity, rng).text
            asked.append((stratum, fact, text))
    return asked


def _retrieval_items(rng: random.Random, *, opened: bool) -> list[Item]:
    """Both halves draw the same questions, so that item i of one is item i of the other."""
    items = []
    for i, (stratum, fact, text) in enumerate(_retrieval(rng)):
        question = tested_question(fact)
        fields: dict[str, Any] = {"cluster": fact.name, "stratum": stratum, "question": question, "gold": [fact.value]}
        prompt = (given(text) if opened else "") + ask(question)
        items.append(_item("retrieval_qa", i, context=text if opened else None, prompt=prompt, **fields))
    return items


def _summaries(rng: random.Random) -> list[Item]:
    items: list[Item] = []
    for length in BINS:
        for lead in rng.sample(world().unseen, N_STORIES):
            told = story(lead, length, rng)
            fields = {"context": told.text, "gold": [told.summary], "facts": told.needed, "prompt": retell(told.text)}
            items.append(_item("summarization", len(items), cluster=lead.name, stratum=length, **fields))
    return items


def _orders(rng: random.Random) -> list[Item]:
    items: list[Item] = []
    seen: set[str] = set()
    for kind in KINDS:
        while sum(item["stratum"] == kind for item in items) < N_ORDERS:
            made = order(kind, rng, tested=True)
            if made.text in seen and kind != "repeat":
                continue
            seen.add(made.text)
            fields = {"question": made.text, "gold": [made.answer], "prompt": do(made.text)}
            items.append(_item("instruction_following", len(items), cluster=made.about, stratum=kind, **fields))
    return items


def _texts(rng: random.Random) -> list[Item]:
    documents = heldout_documents(rng.randrange(2**31))
    return [_item("perplexity", i, context=text, gold=[text], prompt="") for i, text in enumerate(documents)]


TASKS: dict[str, Callable[[random.Random], list[Item]]] = {
    "factoid_qa": _factoids,
    "multiple_choice_qa": _choices,
    "retrieval_qa_closed": lambda rng: _retrieval_items(rng, opened=False),
    "retrieval_qa_open": lambda rng: _retrieval_items(rng, opened=True),
    "summarization": _summaries,
    "instruction_following": _orders,
    "perplexity": _texts,
}
