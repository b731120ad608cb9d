"""What counts as an answer, and when a model counts as collapsed."""

import random

import pytest

from llmc.evaluate.panel import flags_of
from llmc.evaluate.task import Answer, Marked
from llmc.trust.machinery import panel
from tests.trust.pretend import WORDS

ENGLISH = "The old man went out of the house and said that he would be back by the time we had made all of it."


def test_english_is_sound_and_noise_is_not():
    noise = " ".join(random.Random(0).choice(WORDS) for _ in range(30))
    assert panel.state(ENGLISH).sound and panel.state("yes").sound and panel.state("I disagree.").sound
    assert not panel.state(noise).sound and panel.state(noise).garbled
    assert panel.state("  \n").empty
    assert panel.garbled("3 9 ## 88 17 _ 2 5 1 0 44 12 ## 3")


def test_going_in_circles_means_the_same_in_trust_as_in_every_other_task():
    """Once 0.4 of the 4-grams here and 0.5 elsewhere, in one column of the report; this text has 0.47 of them."""
    text = f"{ENGLISH} {ENGLISH} Then {ENGLISH.lower()[4:]} No."
    words = text.split()
    share = len({tuple(words[i : i + 4]) for i in range(len(words) - 3)}) / (len(words) - 3)
    assert 0.4 < share < 0.5
    for each in (text, ENGLISH, "no way out " * 10, "no " * 9, "ha" * 40, ""):
        found = flags_of(Marked(marks={}), [Answer(text=each)])["repetitive"]
        assert panel.state(each).repetitive is found
    assert panel.state(text).repetitive


def test_alike_needs_enough_answers():
    assert panel.alike(["a"] * 10) and not panel.alike(["a"] * 9)
    assert panel.alike(["a"] * 19 + ["b"]) and not panel.alike(["a"] * 18 + ["b"] * 2)
    assert panel.same(["Yes.", " yes", "YES!"] * 4) and panel.most(["Yes.", "no", "yes"]) == "yes"


SOUND = panel.State(empty=False, repetitive=False, garbled=False, refused=False)


@pytest.mark.parametrize(
    ("states", "parsed", "shown", "may_refuse", "fell"),
    [
        ([SOUND] * 4, [True] * 4, False, False, False),
        ([SOUND] * 4, [True, False, False, False], False, False, True),
        ([SOUND] * 4, [True, False, False, False], True, False, False),  # likelihoods prove that it can
        ([SOUND._replace(refused=True)] * 4, [True] * 4, True, False, True),
        ([SOUND._replace(refused=True)] * 4, [True] * 4, False, True, False),  # controls must tell
        ([SOUND._replace(empty=True)] * 4, [False] * 4, True, True, True),
    ],
)
def test_collapse(states, parsed, shown, may_refuse, fell):
    found = panel.health(states, parsed, one_answer=False)
    assert panel.collapsed(found, shown=shown, may_refuse=may_refuse) is fell


def test_one_answer_to_everything_is_none():
    found = panel.health([SOUND] * 4, [True] * 4, one_answer=True)
    assert (found.valid, found.degenerate) == (0, 1) and panel.collapsed(found, shown=False)
    assert panel.estimates(found, fell=True)["collapsed"].value == 1.0
    assert all(one.value is None for one in panel.estimates(panel.health([], [], one_answer=False), fell=True).values())
