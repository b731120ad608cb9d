"""The answer-quality panel."""

import pytest

from llmc.evaluate.panel import collapsed, flags_of, option_shares, panel, repetitive
from llmc.evaluate.task import FLAGS, Answer, Marked

SENTENCE = "The cat sat on the mat while a dog slept near the old door of our little house in town."


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("", False),
        ("no no no", False),
        (SENTENCE, False),
        ("I do not know. " * 12, True),
        ("a" * 200, True),
        (SENTENCE + " " + SENTENCE, False),  # half of its 4-grams are new: once more is no loop
        (SENTENCE * 4, True),
    ],
)
def test_a_text_goes_in_circles_when_most_of_it_recurs(text, loops):
    assert repetitive(text) is loops


def test_flags_come_from_the_answers_and_the_task_has_the_last_word():
    answers = [Answer(text="  ", truncated=True, overflowed=False)]
    plain = flags_of(Marked(marks={}), answers)
    assert plain == {flag: flag in ("empty", "truncated") for flag in FLAGS}
    assert not flags_of(Marked(marks={}, flags={"truncated": False}), answers)["truncated"]


def test_shares_of_answers_that_have_no_text_are_unknown_not_zero():
    flags = [dict.fromkeys(FLAGS, False)] * 3
    found = panel(flags, has_texts=False)
    assert found["empty"] is None and found["overflowed"] == 0 and found["n"] == 3
    assert panel([], has_texts=True)["empty"] is None


def test_a_task_collapses_when_half_its_answers_are_none_or_one_option_takes_all():
    """Shown by Wilson's interval: 118 of 200 are more than half, 189 of 200 more than 90 %; 100 items at least."""
    good = dict.fromkeys(FLAGS, False)
    empty = {**good, "empty": True}

    def broken(n_empty, n):
        return collapsed(panel([empty] * n_empty + [good] * (n - n_empty), has_texts=True), None)

    assert broken(118, 200) and not broken(113, 200) and not broken(0, 200)
    assert not broken(99, 99) and broken(100, 100)

    def options(first):
        marked = [Marked(marks={}, choice=int(i >= first), options=("x", "y")) for i in range(200)]
        assert option_shares(marked) == pytest.approx({"A": first / 200, "B": 1 - first / 200})
        return collapsed(panel([good] * 200, has_texts=False), option_shares(marked))

    assert options(189) and not options(185)


def test_one_word_without_end_behind_a_sentence_goes_in_circles():
    """As SmolLM2-135M wrote it: 18 words, the last of them 900 characters long."""
    sentence = "The name of the place is one that many people know well and others have never heard of: "
    assert len(sentence.split()) >= 16
    assert repetitive(sentence + "A.S.A.R." * 100)
    assert not repetitive(sentence + "https://example.org/one/long/address?that=is&no=circle#at-all-of-its-kind")
