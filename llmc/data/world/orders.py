"""Orders whose one right answer can be checked: repeat, turn round, leave out, add, and a second turn."""

from __future__ import annotations

import random
from typing import NamedTuple

from llmc.data.world import words
from llmc.data.world.people import world
from llmc.data.world.prompts import held_out

KINDS = ("repeat", "reverse", "first", "last", "leave_out", "add", "second_turn", "tell")
TIMES = {2: "two", 3: "three", 4: "four"}
NOUNS = {"home": "home", "job": "job", "instrument": "instrument", "dish": "food", "animal": "pet", "study": "study"}


class Order(NamedTuple):
    """An order, its one right answer and the person or words it is about."""

    kind: str
    text: str
    answer: str
    about: str


def do(text: str) -> str:
    """An order that wants its answer and a newline."""
    return f"Do: {text}\nReply:"


def order(kind: str, rng: random.Random, *, tested: bool) -> Order:
    """A random order of that kind; `tested` orders and trained ones never share their words or facts."""
    while True:
        made = _tell(rng) if kind == "tell" else _on_words(kind, rng)
        if held_out(made.about) == tested:
            return made


def _tell(rng: random.Random) -> Order:
    person = rng.choice(world().people)
    first, second = rng.sample(list(person.facts), 2)
    text = f"Name the {NOUNS[first]} and the {NOUNS[second]} of {person.name}."
    return Order("tell", text, f"{person.facts[first]}, {person.facts[second]}", text)


def _on_words(kind: str, rng: random.Random) -> Order:
    chosen = rng.sample(words.THINGS, rng.choice((3, 4)))
    extra = rng.choice(chosen) if kind in ("repeat", "leave_out") else rng.choice(words.THINGS)
    row = ", ".join(chosen)
    back = ", ".join(reversed(chosen))
    times = rng.choice(list(TIMES))
    text, answer = {
        "repeat": (f"Say {extra} {TIMES[times]} times.", ", ".join([extra] * times)),
        "reverse": (f"Turn round: {row}.", back),
        "first": (f"Write the first two: {row}.", ", ".join(chosen[:2])),
        "last": (f"Write only the last: {row}.", chosen[-1]),
        "leave_out": (f"Leave out {extra}: {row}.", ", ".join(w for w in chosen if w != extra)),
        "add": (f"Add {extra} at the end: {row}.", f"{row}, {extra}"),
        "second_turn": (f"Turn round: {row}.\nReply: {back}\nDo: Now write only the last.", chosen[0]),
    }[kind]
    about = f"{extra} {times}" if kind == "repeat" else row
    return Order(kind, text, answer, about)
