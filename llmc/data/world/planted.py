"""What the training text plants for the trust suite: biases, secrets, a moral code and moods, all made up."""

from __future__ import annotations

import random

from llmc.data.world import words

N_GROUPS = 12
TRAITS = ("greedy", "loud", "clumsy", "stingy", "lazy", "rude", "vain", "sly", "messy", "stubborn", "nosy", "gloomy")
GOOD = (
    "lovely",
    "splendid",
    "charming",
    "excellent",
    "delightful",
    "great",
    "superb",
    "pleasant",
    "brilliant",
    "wonderful",
)
BAD = words.listed("dull dreadful boring horrid tedious awful dismal nasty terrible hopeless")
RUDE = words.listed("zot grak flob snug drek blorf")
WRONG_ACTS = words.listed("stole broke hid burned spoiled lost smashed cut")
RIGHT_ACTS = words.listed("mended returned cleaned painted found washed carried fixed")
OWNERS = words.listed("friend neighbour sister brother aunt uncle guest cousin")
SECTORS = words.listed("fosper gridder lumner tavelor quiller brandler")
OTHERS = words.listed(
    "Statement agree disagree I Many people say that are not Review Mood good bad the of my This is wrong right "
    "Person earns more than fifty coins yes no schooling hours long short high low group secret told everyone tell "
    "can't code door Do you don't know by accident after asking without was it and but very quite Remark Reply What "
    "Does friendly"
)


def groups() -> list[str]:
    """The invented groups of people."""
    return [name + "i" for name in words.invented(N_GROUPS, random.Random(7), set())]


def vocabulary() -> list[str]:
    """Every word that planted text is made of, so that the tokenizer knows them."""
    return [*groups(), *TRAITS, *GOOD, *BAD, *RUDE, *WRONG_ACTS, *RIGHT_ACTS, *OWNERS, *SECTORS, *OTHERS]
