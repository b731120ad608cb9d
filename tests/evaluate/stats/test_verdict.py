"""The six verdicts: each by a table built for it, their order, Holm over the rows, and the size of the whole."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from llmc.errors import UserError
from llmc.evaluate.stats.paired import mean_of_differences, paired_difference
from llmc.evaluate.stats.power import items_needed
from llmc.evaluate.stats.tango import tango_p_of_loss
from llmc.evaluate.stats.verdict import CODES, Evidence, Limits, decide, settle

LIMITS = Limits(min_items=100, min_clusters=10)


def difference(gained, lost, n):
    dense, compressed = np.ones(n), np.ones(n)
    dense[:gained] = 0.0
    compressed[gained : gained + lost] = 0.0
    return paired_difference(dense, compressed, np.arange(n))


def evidence(gained, lost, n, margin=0.02, **more):
    return Evidence(name="mmlu", difference=difference(gained, lost, n), margin=margin, **more)


@pytest.mark.parametrize(
    "gained, lost, n, margin, code, why",
    [
        (9, 14, 1531, 0.02, "kept", "clear"),  # (-1.0 to +0.3)
        (5, 14, 1531, 0.02, "kept", "measurably lower"),  # (-1.2 to -0.02)
        (45, 20, 1531, 0.02, "gained", "clear"),
        (20, 45, 800, 0.01, "lost", "clear"),  # (-5.2 to -1.2)
        (9, 14, 1531, 0.01, "undecided", "neither"),  # -1.009 is beyond -1.0
        (0, 0, 200, 0.01, "undecided", "neither"),
        (0, 0, 200, 0.02, "kept", "clear"),
        (0, 90, 99, 0.02, "undecided", "too few items"),
    ],
)
def test_the_interval_places_the_verdict(gained, lost, n, margin, code, why):
    verdict = decide(evidence(gained, lost, n, margin), LIMITS)
    assert (verdict.code, verdict.why) == (code, why)


def placed(low, high, margin=0.02, **more):
    """The verdict where the edges of the interval are exactly these."""
    exact = replace(difference(9, 14, 1531), low=low, high=high, value=(low + high) / 2)
    verdict = decide(Evidence(name="x", difference=exact, margin=margin, **more), LIMITS)
    return verdict.code, verdict.why


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (-0.04, -0.02, ("undecided", "neither")),  # lost only where the whole interval is beyond the tolerance
        (-0.04, -0.0200001, ("lost", "clear")),
        (-0.02, 0.01, ("undecided", "neither")),  # kept only where all of it is inside
        (-0.0199999, 0.01, ("kept", "clear")),
        (-0.01, 0.0, ("kept", "clear")),  # measurably lower and gained only where it leaves 0 out
        (-0.01, -0.0000001, ("kept", "measurably lower")),
        (0.0, 0.01, ("kept", "clear")),
        (0.0000001, 0.01, ("gained", "clear")),
    ],
)
def test_an_edge_that_touches_a_limit_proves_nothing(low, high, expected):
    assert placed(low, high) == expected


def test_an_edge_of_0_without_the_silent_items_means_that_silence_explains_the_gain():
    for edge, expected in (
        (None, ("kept", "through silence")),
        (0.0, ("kept", "through silence")),
        (0.001, ("gained", "clear")),
    ):
        quiet = replace(difference(9, 14, 1531), low=edge, high=0.1)
        assert placed(0.01, 0.02, without_silence=quiet) == expected


def test_as_many_items_and_clusters_as_asked_for_are_enough():
    assert decide(evidence(0, 60, 100), LIMITS).code == "lost"
    assert decide(evidence(0, 60, 99), LIMITS).why == "too few items"
    ten = paired_difference(np.ones(100), np.zeros(100), np.arange(100) % 10)
    assert decide(Evidence(name="x", difference=ten, margin=0.02), LIMITS).why != "too few clusters"


def test_identical_runs_are_kept_never_lost():
    assert decide(evidence(0, 0, 2000), LIMITS).code == "kept"


def test_what_was_not_compared_comes_before_everything():
    row = evidence(20, 400, 800, not_compared="212 of 800 items have a different prompt hash", collapse="empty")
    assert decide(row, LIMITS).code == "not-compared"
    assert decide(Evidence(name="x", difference=None), LIMITS).code == "not-compared"


def test_a_collapse_comes_before_a_gain():
    assert decide(evidence(100, 0, 800, collapse="97 % empty"), LIMITS).code == "collapsed"


def test_a_collapse_is_seen_even_in_few_items():
    assert decide(evidence(0, 5, 20, collapse="97 % empty"), LIMITS).code == "collapsed"


def test_a_gain_of_a_model_that_collapsed_elsewhere_is_no_evidence():
    assert decide(evidence(100, 0, 800, collapsed_elsewhere="kick/mmlu"), LIMITS).code == "undecided"
    assert decide(evidence(0, 0, 800, collapsed_elsewhere="kick/mmlu"), LIMITS).code == "kept"
    broken = evidence(0, 0, 800, collapsed_elsewhere="kick/mmlu", broken_model=True)
    assert decide(broken, LIMITS).code == "undecided"
    assert decide(evidence(0, 200, 800, broken_model=True), LIMITS).code == "lost"


def test_a_gain_through_silence_is_only_kept():
    gain = evidence(60, 10, 800, silence="more refusals", without_silence=difference(12, 10, 800))
    assert (decide(gain, LIMITS).code, decide(gain, LIMITS).why) == ("kept", "through silence")
    real = evidence(60, 10, 800, silence="more refusals", without_silence=difference(50, 10, 800))
    assert decide(real, LIMITS).code == "gained"


def test_clusters_chance_and_margins_that_are_missing_leave_it_undecided():
    few = paired_difference(np.ones(500), np.ones(500), np.repeat(np.arange(5), 100))
    assert decide(Evidence(name="x", difference=few, margin=0.02), LIMITS).why == "too few clusters"
    assert decide(evidence(0, 100, 500, at_chance=True), LIMITS).why == "at chance"
    assert decide(evidence(0, 100, 500, margin=None), LIMITS).why == "no margin"
    assert decide(evidence(0, 100, 500, margin=0.0), LIMITS).why == "no margin"
    assert decide(evidence(0, 100, 500, min_items=1000), LIMITS).why == "too few items"


def test_undecided_says_how_many_items_would_settle_it():
    """At least 7.85 (flip rate - change^2) / (margin + change)^2; `test_power` draws whether they do."""
    verdict = decide(evidence(9, 14, 1531, 0.01), LIMITS)
    change, flip_rate = -5 / 1531, 23 / 1531
    expected = 7.849 * (flip_rate - change**2) / (0.01 + change) ** 2
    assert expected < verdict.needed == items_needed(difference(9, 14, 1531), 0.01) < 1.2 * expected
    assert decide(evidence(9, 14, 1531, 0.02), LIMITS).needed is None


def test_items_that_share_clusters_are_counted_as_items_when_more_are_asked_for():
    """Every item four times over: the same error, four times the items."""
    dense, compressed = np.ones(400), np.ones(400)
    dense[:8], compressed[8:20] = 0.0, 0.0
    alone = paired_difference(dense, compressed, np.arange(400))
    fourfold = paired_difference(np.repeat(dense, 4), np.repeat(compressed, 4), np.repeat(np.arange(400), 4))
    needed = [decide(Evidence(name="x", difference=d, margin=0.02), LIMITS).needed for d in (alone, fourfold)]
    assert needed[1] == pytest.approx(4 * needed[0], rel=0.01)


def test_the_smallest_detectable_change():
    """About 2.80 sqrt(flip rate / n); without flips the edge itself."""
    verdict = decide(evidence(60, 60, 2000), LIMITS)
    assert verdict.detectable == pytest.approx(2.8016 * np.sqrt(0.06 / 1999), rel=0.02)
    still = evidence(0, 0, 2000)
    assert decide(still, LIMITS).detectable == pytest.approx(still.difference.high)


def test_holm_takes_back_a_loss_that_stands_only_alone():
    """p = 0.0151 alone is below 0.025; as the smaller of two it must be below 0.0125."""
    row = evidence(20, 46, 800, 0.011)
    p = tango_p_of_loss(20, 46, 800, 0.011)
    assert 0.0125 < p < 0.025
    assert settle([row], LIMITS)[0].code == "lost"
    both = settle([row, evidence(0, 0, 2000)], LIMITS)
    assert [(v.code, v.why) for v in both] == [("undecided", "after Holm"), ("kept", "clear")]
    assert both[0].needed > 800
    assert settle([row, evidence(0, 0, 2000)], Limits(min_items=100, holm=False))[0].code == "lost"


def test_a_row_that_was_not_compared_is_no_try():
    row = evidence(20, 46, 800, 0.011)
    assert settle([row, Evidence(name="x", difference=None)], LIMITS)[0].code == "lost"


def test_settle_without_rows_and_without_differences():
    assert settle([], LIMITS) == []
    assert settle([Evidence(name="x", difference=None)], LIMITS)[0].code == "not-compared"


def test_a_mean_of_tasks_is_decided_like_a_task():
    mean = mean_of_differences([difference(20, 45, 800), difference(20, 45, 800)])
    assert decide(Evidence(name="kick", difference=mean, margin=0.01), LIMITS).code == "lost"


def test_every_verdict_has_a_place_in_the_order():
    assert set(CODES) == {"kept", "gained", "lost", "undecided", "collapsed", "not-compared"}


def test_limits_that_mean_nothing_are_refused():
    with pytest.raises(UserError):
        Limits(min_items=0)
    with pytest.raises(UserError):
        Limits(min_clusters=1)


@pytest.fixture
def without_advice(monkeypatch):
    """Verdicts without the items that would settle them: no word hangs on these, and most of the time does."""
    monkeypatch.setattr("llmc.evaluate.stats.verdict._needed", lambda *arguments: None)


@pytest.mark.usefixtures("without_advice")
def test_equal_models_are_called_lost_in_at_most_2_5_percent_of_the_families():
    """Row "Family 'any lost'": 8 rows on the margin, where the uncorrected share is 0.17."""
    generator, draws, n, margin = np.random.default_rng(8), 400, 400, 0.03
    lost = {True: 0, False: 0}
    for _ in range(draws):
        tables = generator.multinomial(n, [0.02, 0.05, 0.93], size=8)
        rows = [evidence(int(b), int(c), n, margin) for b, c, _ in tables]
        for holm in lost:
            lost[holm] += any(v.code == "lost" for v in settle(rows, Limits(min_items=100, holm=holm)))
    assert lost[True] / draws <= 0.0283 + 3 * np.sqrt(0.0283 * 0.9717 / draws)
    assert lost[False] / draws > 0.1


@pytest.mark.usefixtures("without_advice")
def test_passing_needs_every_row_so_a_false_pass_stays_rare():
    """Row "Intersection-union": 8 rows, one on the margin: 0.016, at most 0.0283."""
    generator, draws, n = np.random.default_rng(9), 400, 2000
    passed = 0
    for _ in range(draws):
        tables = [generator.multinomial(n, [0.02, 0.04, 0.94])]
        tables += list(generator.multinomial(n, [0.02, 0.02, 0.96], size=7))
        rows = [evidence(int(b), int(c), n, 0.02) for b, c, _ in tables]
        passed += all(v.code in ("kept", "gained") for v in settle(rows, LIMITS))
    assert passed <= stats.binom.ppf(0.999, draws, 0.025)
