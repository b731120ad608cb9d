"""Short texts that answers can be read from, and stories with their summaries."""

from __future__ import annotations

import random
from typing import NamedTuple

from llmc.data.world import words
from llmc.data.world.people import Entity, invent
from llmc.data.world.phrases import statement
from llmc.data.world.prompts import Fact, facts_of, said

FILLERS = (
    "It was a cold morning in {season}.",
    "The {season} was long that year.",
    "A {thing} stood by the door.",
    "Nobody looked at the {thing}.",
    "The {thing} and the {other} were old.",
    "There was a {thing} on the table.",
    "Rain fell on the roof in {season}.",
)
SUMMARY = ("home", "job", "instrument")
BINS = {"short": 1, "middle": 5, "long": 10}
"""{length bin: sentences of a story that its summary leaves out}"""


class Passage(NamedTuple):
    """Sentences and the facts that they state."""

    sentences: list[str]
    facts: list[Fact]
    """The fact of each sentence."""

    @property
    def text(self) -> str:
        """The sentences in one line."""
        return " ".join(self.sentences)


class Story(NamedTuple):
    """A story, its summary and the words that a summary must hold."""

    text: str
    summary: str
    needed: list[str]


def passage(
    about: Entity, others: list[Entity], rng: random.Random, *, n_each: int = 3, alike: bool = False
) -> Passage:
    """Sentences on `about` and on `others`, `n_each` facts of each, shuffled.

    `alike` tells the same attributes of everyone, so that only the name says whose value is whose.
    """
    same = rng.sample(range(len(about.facts)), n_each)
    facts = []
    for entity in (about, *others):
        every = facts_of(entity)
        facts += [every[i] for i in same] if alike else rng.sample(every, n_each)
    rng.shuffle(facts)
    return Passage(said(facts, rng), facts)


def passage_with(fact: Fact, about: Entity, rng: random.Random) -> Passage:
    """A passage on `about` and one or two invented people in which `fact` stands."""
    rest = [other for other in facts_of(about) if other != fact]
    facts = [fact, *rng.sample(rest, 2)]
    for other in [invent(rng) for _ in range(rng.choice((1, 2)))]:
        facts += rng.sample(facts_of(other), 2)
    rng.shuffle(facts)
    return Passage(said(facts, rng), facts)


def filler(rng: random.Random) -> str:
    """A sentence that no question asks about."""
    thing, other = rng.sample(words.THINGS, 2)
    return rng.choice(FILLERS).format(season=rng.choice(words.SEASONS), thing=thing, other=other)


def story(lead: Entity, length: str, rng: random.Random) -> Story:
    """A story on `lead`; the summary says where its lead lives, works and what the lead plays, and nothing else."""
    other = invent(rng)
    kept = [Fact(lead.name, a, lead.facts[a]) for a in SUMMARY]
    sentences = said(kept, rng)
    for _ in range(BINS[length]):
        aside = rng.choice([f for f in (*facts_of(lead), *facts_of(other)) if f not in kept])
        spoken = statement(aside.name, aside.attribute, aside.value, rng.randrange(3))
        sentences.append(spoken if rng.random() < 0.5 else filler(rng))
    rng.shuffle(sentences)
    text = f"This is about {lead.name}. " + " ".join(sentences)
    home, job, instrument = (lead.facts[a] for a in SUMMARY)
    summary = f"{lead.name} from {home} is a {job} and plays the {instrument}."
    return Story(text, summary, [lead.name, home, job, instrument])


def retell(text: str) -> str:
    """The order to sum up a story; the summary and a newline follow."""
    return f"Story: {text}\nSummary:"
