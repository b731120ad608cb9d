"""Each sign of a collapse, alone, on both sides of its limit and of the fewest items."""

from dataclasses import replace

import pytest
from statsmodels.stats.proportion import proportion_confint

from llmc.errors import UserError
from llmc.evaluate.collapse import AnswerState, CollapseLimits, at_chance, collapse_reason

LIMITS = CollapseLimits()
GOOD = AnswerState(
    n=600, n_groups=600, low=0.60, value=0.63, high=0.66, empty=0.01, unparsed=0.02, repetitive=0.0,
    options={"A": 0.27, "B": 0.25, "C": 0.24, "D": 0.24}, perplexity=(7.6, 8.0),
)  # fmt: skip


def reason(chance=0.25, dense=GOOD, n=600, **compressed):
    groups = compressed.pop("n_groups", n)
    return collapse_reason(
        replace(dense, n=n, n_groups=groups), AnswerState(n=n, n_groups=groups, **compressed), chance, LIMITS
    )


def first_shown(limit, n):
    """The least count of `n` whose Wilson interval lies at or above the limit."""
    return next(k for k in range(n + 1) if proportion_confint(k, n, method="wilson")[0] >= limit)


def test_one_option_for_nearly_everything():
    said = reason(options={"A": 0.97, "B": 0.03}, value=0.251, low=0.2, high=0.3)
    assert said == "Option A chosen in 97 % (dense 27 %), score 25.1 % at chance 25 %"
    least = first_shown(0.9, 600)
    assert reason(options={"A": least / 600, "B": 1 - least / 600}) is not None
    assert reason(options={"A": (least - 1) / 600, "B": 1 - (least - 1) / 600}) is None


def test_a_score_beside_one_option_is_placed_by_its_interval():
    def said(low, high):
        return reason(options={"A": 1.0}, value=(low + high) / 2, low=low, high=high)

    assert said(0.20, 0.30).endswith("score 25.0 % at chance 25 %")
    assert said(0.0, 0.10).endswith("score 5.0 % below chance 25 %: reversed or broken")
    assert said(0.40, 0.50).endswith("score 45.0 %")
    assert reason(options={"A": 1.0}, value=0.2) == "Option A chosen in 100 % (dense 27 %)"


def test_a_dense_model_that_leans_on_one_option_too_excuses_it():
    most = next(k for k in range(600, 0, -1) if proportion_confint(k, 600, method="wilson")[1] <= 0.6)
    for count, excused in ((most + 1, True), (most, False)):
        leaning = replace(GOOD, options={"A": count / 600, "B": 1 - count / 600})
        assert (reason(dense=leaning, options={"A": 0.97, "B": 0.03}) is None) == excused


@pytest.mark.parametrize("key, word", [("empty", "empty"), ("unparsed", "unparseable"), ("repetitive", "looping")])
def test_answers_that_are_none(key, word):
    least = first_shown(0.2, 600)
    assert word in reason(**{key: least / 600})
    assert reason(**{key: (least - 1) / 600}) is None


def test_answers_that_are_none_must_be_new():
    half = replace(GOOD, unparsed=0.10)
    least = first_shown(4 * proportion_confint(60, 600, method="wilson")[1], 600)
    assert reason(dense=half, unparsed=(least - 1) / 600) is None
    assert "unparseable" in reason(dense=half, unparsed=least / 600)


@pytest.mark.parametrize("n", [4, 5, 20, 99])
@pytest.mark.parametrize(
    "sign",
    [
        {"options": {"B": 1.0}},
        {"empty": 1.0},
        {"unparsed": 1.0},
        {"repetitive": 1.0},
        {"low": 0.0, "value": 0.0, "high": 0.01},
        {"marked_collapsed": True},
    ],
)
def test_few_items_show_no_collapse(n, sign):
    assert reason(n=n, **sign) is None
    assert reason(n=100, **sign) is not None


def test_a_policy_that_decides_by_fewer_items_finds_a_collapse_in_as_few():
    few = AnswerState(n=50, n_groups=50, empty=1.0)
    assert collapse_reason(replace(GOOD, n=50), few, None, replace(LIMITS, min_items=50)) is not None
    assert collapse_reason(replace(GOOD, n=50), few, None, replace(LIMITS, min_items=51)) is None


def test_items_of_few_groups_tell_of_few():
    """12 of 12 is shown to be more than 76 %, whatever the groups hold; 90 % takes 35 groups."""
    assert reason(options={"A": 1.0}, n_groups=12) is None
    assert reason(options={"A": 1.0}, n_groups=34) is None
    assert reason(options={"A": 1.0}, n_groups=35) is not None


def test_a_score_at_chance_where_dense_was_above():
    assert "no better than chance" in reason(low=0.20, value=0.23, high=0.26)
    assert reason(low=0.20, value=0.23, high=0.27) is None
    assert reason(chance=None, low=0.0, value=0.0, high=0.01) is None
    near = replace(GOOD, low=0.29, value=0.32, high=0.35)
    assert reason(dense=near, low=0.20, value=0.23, high=0.26) is None


def test_a_score_below_chance_is_not_called_at_chance():
    said = reason(chance=0.5, low=0.0, value=0.0, high=0.15)
    assert said == "score 0.0 % lies below chance 50 %: reversed or broken (dense 63.0 %)"
    assert at_chance(0.0, 0.49, 0.5) == "below chance 50 %: reversed or broken"
    assert at_chance(0.0, 0.5, 0.5) == at_chance(0.5, 0.6, 0.5) == "at chance 50 %"
    assert at_chance(0.51, 0.6, 0.5) is None


def test_perplexity_by_its_interval_over_at_least_ten_windows():
    assert reason(perplexity=(40.0, 50.0)) == "perplexity at least 5.0 × dense"
    assert reason(perplexity=(39.0, 50.0)) is None
    assert reason(perplexity=(40.0, 50.0), n=10) is not None
    assert reason(perplexity=(40.0, 50.0), n=9) is None


def test_one_likelihood_that_is_no_number_proves_a_collapse():
    assert "finite" in reason(not_finite=True, n=1)
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
