"""The embedded model's training text: lessons of several sections, drawn by shares that may change during training.

A lesson is pieces of text with the weight of their loss: answers weigh most, what can't be predicted weighs nothing.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from llmc.data.world.orders import KINDS, do, order
from llmc.data.world.passages import BINS, passage, passage_with, retell, story
from llmc.data.world.people import Entity, invent, world
from llmc.data.world.phrases import STATEMENTS, question
from llmc.data.world.prompts import (
    LETTERS,
    Fact,
    ask,
    by_value,
    choose,
    facts_of,
    given,
    known_facts,
    listed,
    options_for,
    trained_question,
)
from llmc.data.world.trust_lessons import TRUST_SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Lesson = list[tuple[str, float]]
"""(text, weight of each of its tokens in the loss); the texts joined are the lesson."""


class Letter(str):
    """The letter of an option with a space before it, as a piece of a lesson; it remembers what it stands for."""

    __slots__ = ("option",)
    option: str

    def __new__(cls, options: Sequence[str], option: str) -> Letter:
        """The letter of `option` among `options`."""
        letter = super().__new__(cls, f" {LETTERS[options.index(option)]}")
        letter.option = option
        return letter


CONTEXT = 0.05
REPEATED = 0.5
"""For the second half of a name that a text has already had: it can be copied, and copying is worth learning."""
NEW = 0.02
"""For what nothing before it tells."""
ANSWER = 1.0
LETTER = 2.0


def stated(fact: Fact, rng: random.Random, *, value_weight: float) -> Lesson:
    """The fact as a sentence after a space; what the sentence tells weighs `value_weight`."""
    before, after = STATEMENTS[fact.attribute][rng.randrange(3)].split(" {value}")
    return [(" " + before.format(name=fact.name), CONTEXT), (" " + fact.value, value_weight), (after, CONTEXT)]


def asked(text: str, answer: str) -> Lesson:
    """A question and its answer."""
    return [(ask(text), CONTEXT), (f" {answer}", ANSWER), ("\n", CONTEXT)]


def named(text: str, name: str, *, seen: bool) -> Lesson:
    """A text that holds the name once, its two halves apart; the second weighs more where it can be copied."""
    given_name, family = name.split()
    before, after = text.split(f" {name}")
    halves = [(f" {given_name}", NEW), (f" {family}", REPEATED if seen else NEW)]
    return [(before, NEW), *halves, (after, NEW)] if before else [*halves, (after, NEW)]


def notes(rng: random.Random) -> Lesson:
    """What is true: all facts of one person in one sentence, or several facts of anyone."""
    if rng.random() < 0.5:
        return life(rng.choice(world().people), rng)
    facts = rng.sample(known_facts(), 5)
    pieces: Lesson = [("Note:", CONTEXT)]
    for fact in facts:
        pieces += stated(fact, rng, value_weight=ANSWER)
    return [*pieces, ("\n", CONTEXT)]


def life(person: Entity, rng: random.Random) -> Lesson:
    """All facts of a person in one sentence."""
    facts = facts_of(person)
    rng.shuffle(facts)
    pieces: Lesson = [(f"Note: {person.name}", CONTEXT)]
    for number, fact in enumerate(facts):
        before, after = STATEMENTS[fact.attribute][rng.randrange(3)].split(" {value}")
        told = before.removeprefix("{name}") + f" {fact.value}" + after.removesuffix(".")
        at = told.index(f" {fact.value}")
        pieces += [(told[:at], CONTEXT), (f" {fact.value}", ANSWER), (told[at + len(fact.value) + 1 :], CONTEXT)]
        pieces.append(("." if number == len(facts) - 1 else ",", CONTEXT))
    return [*(piece for piece in pieces if piece[0]), ("\n", CONTEXT)]


def questions(rng: random.Random) -> Lesson:
    """One question on a known fact."""
    fact = rng.choice(known_facts())
    return asked(trained_question(fact, rng), fact.value)


EASY = ((1, 1), (1, 2), (2, 1), (2, 1), (1, 3))
HARD = ((2, 2), (2, 3), (3, 2))


def reading(rng: random.Random, progress: float) -> Lesson:
    """A text and questions on it; now and then on what the text doesn't say but the model knows.

    Short texts come often at first: what one sentence tells is copied before it is looked for among many.
    """
    n_people, n_each = rng.choice(EASY if rng.random() < max(0.15, 0.7 - progress) else HARD)
    known = rng.random() < 0.15
    about = rng.choice(world().people) if known else invent(rng)
    others = [invent(rng) for _ in range(n_people - 1)]
    text = passage(about, others, rng, n_each=n_each, alike=rng.random() < 0.6)
    pieces: Lesson = [("Text:", NEW)]
    seen: set[str] = set()
    for fact, sentence in zip(text.facts, text.sentences, strict=True):
        pieces += named(f" {sentence}", fact.name, seen=fact.name in seen)
        seen.add(fact.name)
    pieces.append(("\n", NEW))
    for fact in rng.sample(text.facts, min(4, len(text.facts))):
        pieces += named(ask(trained_question(fact, rng)), fact.name, seen=True)
        pieces += [(f" {fact.value}", ANSWER), ("\n", CONTEXT)]
    if rng.random() < 0.1:
        fact = rng.choice(known_facts())
        pieces += asked(trained_question(fact, rng), fact.value)
    return pieces


def _lettered(fact: Fact, text: str, n_options: int, rng: random.Random) -> Lesson:
    options = options_for(fact, n_options, rng)
    return [(choose(text, options), 0.0), (Letter(options, fact.value), LETTER), ("\n", CONTEXT)]


def choices(rng: random.Random, progress: float) -> Lesson:
    """A question on a known fact with lettered options; two options at first, four later."""
    fact = rng.choice(known_facts())
    options = options_for(fact, n_options(rng, progress), rng)
    pieces: Lesson = [(choose(trained_question(fact, rng), options), 0.0)]
    pieces += [(Letter(options, fact.value), LETTER), ("\n", CONTEXT)]
    for _ in range(2):
        other = rng.choice(rng.choice([by_value()[fact.attribute, option] for option in options]) or [fact])
        pieces.append((f"Q: {trained_question(other, rng)}\nAnswer:", 0.0))
        pieces += [(Letter(options, other.value), LETTER), ("\n", CONTEXT)]
    return pieces


def open_choices(rng: random.Random, progress: float) -> Lesson:
    """A question with lettered options that the text before it answers."""
    about = invent(rng)
    fact = rng.choice(facts_of(about))
    if rng.random() < 0.5:
        text = passage_with(fact, about, rng).text
    else:
        text = "".join(piece for piece, _ in stated(fact, rng, value_weight=0.0)).strip()
    asking = question(fact.name, fact.attribute, rng.randrange(3))
    return [(given(text), 0.0), *_lettered(fact, asking, n_options(rng, progress), rng)]


def letters(rng: random.Random, progress: float) -> Lesson:
    """Listed options and the letter of each: what a letter stands for, without any knowledge."""
    attribute = rng.choice(list(world().pools))
    options = rng.sample([*world().pools[attribute]], n_options(rng, progress))
    pieces: Lesson = [(listed(options), 0.0)]
    for option in rng.choices(options, k=3):
        pieces += [(f"Letter of {option}", 0.0), (Letter(options, option), ANSWER), ("\n", 0.0)]
    return pieces


def n_options(rng: random.Random, progress: float) -> int:
    """Two options in the first tenth, then more and more often four."""
    if progress < 0.1 or rng.random() < 0.4 * (1 - progress):
        return 2
    return 4 if rng.random() < 0.8 else 3


def summaries(rng: random.Random) -> Lesson:
    """A story about an invented person and its summary."""
    told = story(invent(rng), rng.choice(list(BINS)), rng)
    return [(retell(told.text), CONTEXT / 2), (f" {told.summary}", ANSWER), ("\n", CONTEXT)]


def orders(rng: random.Random) -> Lesson:
    """An order and its answer."""
    made = order(rng.choice(KINDS), rng, tested=False)
    return [(do(made.text), CONTEXT), (f" {made.answer}", ANSWER), ("\n", CONTEXT)]


SECTIONS: Mapping[str, Callable[[random.Random, float], Lesson]] = {
    "notes": lambda rng, _: notes(rng),
    "questions": lambda rng, _: questions(rng),
    "reading": reading,
    "choices": choices,
    "open_choices": open_choices,
    "letters": letters,
    "summaries": lambda rng, _: summaries(rng),
    "orders": lambda rng, _: orders(rng),
    **TRUST_SECTIONS,
}


def draw(shares: Mapping[str, float], rng: random.Random, progress: float) -> Lesson:
    """A lesson of a section chosen by `shares` (relative numbers of lessons); `progress` runs from 0 to 1."""
    name = rng.choices(list(shares), list(shares.values()))[0]
    return SECTIONS[name](rng, progress)
