"""Each sign of a collapse, alone, on both sides of its limit."""

import pytest

from llmc.errors import UserError
from llmc.evaluate.collapse import AnswerState, CollapseLimits, collapse_reason

LIMITS = CollapseLimits()
GOOD = AnswerState(
    low=0.60, value=0.63, high=0.66, empty=0.01, unparsed=0.02, repetitive=0.0,
    options={"A": 0.27, "B": 0.25, "C": 0.24, "D": 0.24}, perplexity=8.0,
)  # fmt: skip


def reason(chance=0.25, dense=GOOD, **compressed):
    return collapse_reason(dense, AnswerState(**compressed), chance, LIMITS)


def test_one_option_for_nearly_everything():
    said = reason(options={"A": 0.97, "B": 0.03}, value=0.251, low=0.2, high=0.3)
    assert said == "Option A chosen in 97 % (dense 27 %), score 25.1 % at chance 25 %"
    assert reason(options={"A": 0.90, "B": 0.10}) is not None
    assert reason(options={"A": 0.89, "B": 0.11}) is None


def test_a_dense_model_that_leans_on_one_option_too_excuses_it():
    leaning = AnswerState(options={"A": 0.61, "B": 0.39})
    assert reason(dense=leaning, options={"A": 0.97, "B": 0.03}) is None
    less = AnswerState(options={"A": 0.60, "B": 0.40})
    assert reason(dense=less, options={"A": 0.97, "B": 0.03}) is not None


@pytest.mark.parametrize("key, word", [("empty", "empty"), ("unparsed", "unparseable"), ("repetitive", "looping")])
def test_answers_that_are_none(key, word):
    assert word in reason(**{key: 0.20})
    assert reason(**{key: 0.19}) is None


def test_answers_that_are_none_must_be_new():
    half = AnswerState(unparsed=0.10)
    assert reason(dense=half, unparsed=0.39) is None
    assert "unparseable" in reason(dense=half, unparsed=0.40)


def test_a_score_at_chance_where_dense_was_above():
    assert "no better than chance" in reason(low=0.20, value=0.23, high=0.26)
    assert reason(low=0.20, value=0.23, high=0.27) is None
    assert reason(chance=None, low=0.0, value=0.0, high=0.01) is None
    near = AnswerState(low=0.29, value=0.32, high=0.35)
    assert reason(dense=near, low=0.20, value=0.23, high=0.26) is None


def test_perplexity_and_numbers_that_are_not_finite():
    assert reason(perplexity=40.0) == "perplexity 5.0 × dense"
    assert reason(perplexity=39.0) is None
    assert "finite" in reason(not_finite=True)
    assert collapse_reason(AnswerState(not_finite=True), AnswerState(not_finite=True), None, LIMITS) is None


def test_the_evaluations_own_word_counts_unless_dense_has_it_too():
    assert "degenerate" in reason(marked_collapsed=True)
    assert reason(dense=AnswerState(marked_collapsed=True), marked_collapsed=True) is None


def test_the_same_model_never_collapses():
    assert collapse_reason(GOOD, GOOD, 0.25, LIMITS) is None
    assert collapse_reason(AnswerState(), AnswerState(), None, LIMITS) is None


def test_limits_outside_their_range_are_refused():
    with pytest.raises(UserError):
        CollapseLimits(one_option=90)
    with pytest.raises(UserError):
        CollapseLimits(perplexity_ratio=1.0)
