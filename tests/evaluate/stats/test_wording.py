"""The specification's sentences, word for word, from the tables behind them."""

import numpy as np
import pytest

from llmc.evaluate.stats.paired import paired_difference
from llmc.evaluate.stats.verdict import CODES, Evidence, Limits, decide, settle
from llmc.evaluate.stats.wording import SIGNS, WORDS, decimals_for, number, points, rounded, sentence

LIMITS = Limits(min_items=100)


def say(gained, lost, n, margin, limits=LIMITS, **more):
    dense, compressed = np.ones(n), np.ones(n)
    dense[:gained] = 0.0
    compressed[gained : gained + lost] = 0.0
    difference = paired_difference(dense, compressed, np.arange(n))
    row = Evidence(name="mmlu", difference=difference, margin=margin, **more)
    return sentence(row, settle([row], limits)[0], limits)


def test_kept():
    assert say(9, 14, 1531, 0.02) == (
        "PASS. mmlu −0.3 (95 % interval −1.0 to +0.3); a loss of more than 2.0 points is ruled out. "
        "14 lost, 9 gained of 1,531."
    )


def test_kept_but_measurably_lower():
    assert say(2, 20, 3000, 0.02) == (
        "PASS, but measurably lower: −0.6 (−1.0 to −0.3); inside the 2.0 points allowed. 20 lost, 2 gained of 3,000."
    )


def test_gained_and_gained_through_silence():
    assert say(30, 9, 1500, 0.02) == "PASS, and better than dense: +1.4 (+0.6 to +2.3). 9 lost, 30 gained of 1,500."
    still = paired_difference(np.ones(100), np.ones(100), np.arange(100))
    assert "through more refusals" in say(30, 9, 1500, 0.02, silence="more refusals", without_silence=still)


def test_lost():
    assert say(20, 45, 800, 0.01) == (
        "FAIL. −3.1 (−5.2 to −1.2); the loss is larger than the 1.0 point allowed. 45 lost, 20 gained of 800."
    )


def test_undecided_near_its_limit_has_two_decimals_and_the_items_needed():
    """A normal interval takes 7.849 * 0.015012 / 0.006734^2 = 2,598 items, Tango's 2,859; said as 2,900."""
    assert say(9, 14, 1531, 0.01) == (
        "UNDECIDED. −0.33 (−1.01 to +0.31): a loss of more than 1.0 point is neither shown nor ruled out. "
        "About 2,900 items would settle it if the true change is the observed one. 14 lost, 9 gained of 1,531."
    )


def test_undecided_without_flips_and_with_too_few_items():
    assert say(0, 0, 200, 0.01) == "UNDECIDED. No flips in 200 items still allow −1.9 to +1.9."
    assert ": under the 100 items asked for. 3 lost, 0 gained of 60." in say(0, 3, 60, 0.02)


def test_collapsed_and_not_compared():
    assert say(0, 300, 800, 0.02, collapse="Option A chosen in 97 % (dense 27 %)").startswith(
        "COLLAPSED. Option A chosen in 97 % (dense 27 %)."
    )
    assert say(0, 0, 800, 0.02, not_compared="212 of 1,531 items have a different prompt hash") == (
        "NOT COMPARED: 212 of 1,531 items have a different prompt hash."
    )


@pytest.mark.parametrize("gained, lost, n", [(0, 0, 150), (3, 9, 400), (40, 2, 300), (0, 80, 300), (1, 1, 90)])
def test_no_sentence_uses_a_forbidden_word(gained, lost, n):
    text = say(gained, lost, n, 0.02).lower()
    assert not any(word in text for word in ("significant", "no change", " p =", "nan", "none", "-0", "+0.0 "))


def test_rounding_never_puts_an_edge_on_the_wrong_side_of_its_limit():
    assert decimals_for([-1.04], [-1.0]) == 2
    assert decimals_for([-1.004], [-1.0]) == 3
    assert decimals_for([-1.5, 0.4], [0.0, -1.0]) == 1
    assert decimals_for([-1.00001], [-1.0]) == 4
    assert decimals_for([-1.0], [-1.0]) == 2


def test_numbers_for_people():
    assert [number(-0.04), number(0.04), number(-3.14), number(1234.5), number(2.0, signed=False)] == [
        "0.0", "0.0", "−3.1", "+1,234.5", "2.0",
    ]  # fmt: skip
    assert [points(0.01), points(0.02), points(0.0125), points(0.05, "% of dense")] == [
        "1.0 point", "2.0 points", "1.25 points", "5.0 % of dense",
    ]  # fmt: skip
    assert [rounded(2571), rounded(7), rounded(99), rounded(101)] == [2600, 7, 99, 110]


def test_every_verdict_has_its_own_sign_and_word():
    assert len(set(SIGNS.values())) == len(CODES) == len(WORDS)
    assert decide(Evidence(name="x", difference=None), LIMITS).code in SIGNS
