"""The forms that questions are put in, one place for training text and test items."""

from __future__ import annotations

import functools
import random
import zlib
from typing import TYPE_CHECKING, NamedTuple

from llmc.data.world.people import Entity, world
from llmc.data.world.phrases import question, statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LETTERS = ("A", "B", "C", "D")


class Fact(NamedTuple):
    """One attribute of one entity."""

    name: str
    attribute: str
    value: str


def ask(text: str) -> str:
    """A question that wants its answer and a newline."""
    return f"Q: {text}\nA:"


def given(text: str) -> str:
    """A text that questions follow."""
    return f"Text: {text}\n"


def listed(options: Sequence[str]) -> str:
    """Options, one a line, each behind its letter."""
    return "".join(f"{letter}. {option}\n" for letter, option in zip(LETTERS, options, strict=False))


def choose(text: str, options: Sequence[str]) -> str:
    """Listed options and a question that wants a letter and a newline."""
    return f"{listed(options)}Q: {text}\nAnswer:"


def held_out(text: str) -> bool:
    """Whether a text belongs to the tenth that is only tested, never trained on (a hash of the text decides)."""
    return zlib.crc32(text.encode()) % 10 == 0


def facts_of(entity: Entity) -> list[Fact]:
    """Every fact of an entity."""
    return [Fact(entity.name, attribute, value) for attribute, value in entity.facts.items()]


@functools.cache
def known_facts() -> tuple[Fact, ...]:
    """Every fact that the training text states: people first, towns after."""
    return tuple(fact for entity in (*world().people, *world().towns) for fact in facts_of(entity))


@functools.cache
def by_value() -> dict[tuple[str, str], list[Fact]]:
    """{(attribute, value): the known facts with that value}, with an empty list where nobody has it."""
    found: dict[tuple[str, str], list[Fact]] = {(a, v): [] for a, pool in world().pools.items() for v in pool}
    for fact in known_facts():
        found[fact.attribute, fact.value].append(fact)
    return found


def options_for(fact: Fact, n: int, rng: random.Random) -> list[str]:
    """`n` different values of the fact's attribute in random order, the true one among them."""
    wrong = [value for value in world().pools[fact.attribute] if value != fact.value]
    options = [fact.value, *rng.sample(wrong, n - 1)]
    rng.shuffle(options)
    return options


def said(facts: Iterable[Fact], rng: random.Random) -> list[str]:
    """Each fact as a sentence in a random phrasing."""
    return [statement(f.name, f.attribute, f.value, rng.randrange(3)) for f in facts]


def trained_question(fact: Fact, rng: random.Random) -> str:
    """A question for the fact in one of the two phrasings that the training text may use for it."""
    held = world().held.get((fact.name, fact.attribute))
    return question(fact.name, fact.attribute, rng.choice([i for i in range(3) if i != held]))


def tested_question(fact: Fact) -> str:
    """The question in the phrasing that the training text never uses for this fact."""
    return question(fact.name, fact.attribute, world().held.get((fact.name, fact.attribute), 0))
