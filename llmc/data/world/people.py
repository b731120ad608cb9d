"""What is true in the world: its people, its towns and their attributes.

Known people are in the embedded model's training text. Unseen people have names and attributes that never are:
questions on them can only be answered from a text that is given. Invented people are drawn anew for each training text.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from llmc.data.world import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

N_GIVEN = N_FAMILY = 128
N_TOWNS = 64
N_KNOWN = 1000
N_UNSEEN = 400
WORLD_SEED = 20_260


@dataclass(frozen=True)
class Entity:
    """A person or a town with its attributes."""

    name: str
    facts: Mapping[str, str]
    """{attribute: value}; the attributes of one kind of entity are the same and in the same order."""


@dataclass(frozen=True)
class World:
    """Everything that is fixed: who exists, what is known, and the pools that values come from."""

    given: Sequence[str]
    family: Sequence[str]
    pools: Mapping[str, Sequence[str]]
    """{attribute: every possible value}, of people and of towns."""
    people: Sequence[Entity]
    unseen: Sequence[Entity]
    towns: Sequence[Entity]
    held: Mapping[tuple[str, str], int]
    """{(name, attribute): which phrasing of the question is kept out of the training text}."""


PERSON_ATTRIBUTES = ("home", "job", "instrument", "dish", "animal", "study")
TOWN_ATTRIBUTES = ("region", "river", "goods")
N_PHRASINGS = 3


@functools.cache
def world() -> World:
    """The one world, the same in every process; `WORLD_SEED` decides it."""
    rng = random.Random(WORLD_SEED)
    taken: set[str] = set()
    towns = words.invented(N_TOWNS, rng, taken, ending="m")
    pools = {
        "home": towns,
        "job": words.JOBS,
        "instrument": words.INSTRUMENTS,
        "dish": words.DISHES,
        "animal": words.ANIMALS,
        "study": words.STUDIES,
        "region": words.invented(16, rng, taken, ending="t"),
        "river": words.invented(32, rng, taken, ending="k"),
        "goods": words.GOODS,
    }
    given = words.invented(N_GIVEN, rng, taken)
    family = words.invented(N_FAMILY, rng, taken)
    pairs = rng.sample(range(N_GIVEN * N_FAMILY), N_KNOWN + N_UNSEEN)
    everyone = [
        Entity(f"{given[p // N_FAMILY]} {family[p % N_FAMILY]}", _draw(PERSON_ATTRIBUTES, pools, rng)) for p in pairs
    ]
    places = [Entity(town, _draw(TOWN_ATTRIBUTES, pools, rng)) for town in towns]
    known = everyone[:N_KNOWN]
    held = {(e.name, a): rng.randrange(N_PHRASINGS) for e in [*known, *places] for a in e.facts}
    return World(
        given=tuple(given),
        family=tuple(family),
        pools=MappingProxyType({k: tuple(v) for k, v in pools.items()}),
        people=tuple(known),
        unseen=tuple(everyone[N_KNOWN:]),
        towns=tuple(places),
        held=MappingProxyType(held),
    )


def _draw(attributes: Sequence[str], pools: Mapping[str, Sequence[str]], rng: random.Random) -> Mapping[str, str]:
    return MappingProxyType({a: rng.choice(pools[a]) for a in attributes})


@functools.cache
def reserved() -> frozenset[str]:
    """The names that no invented person may have: known and unseen people."""
    return frozenset(e.name for e in (*world().people, *world().unseen))


def invent(rng: random.Random) -> Entity:
    """A person who is neither known nor unseen, with random attributes."""
    earth = world()
    while True:
        name = f"{rng.choice(earth.given)} {rng.choice(earth.family)}"
        if name not in reserved():
            return Entity(name, _draw(PERSON_ATTRIBUTES, earth.pools, rng))
