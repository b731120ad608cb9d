"""Which run is named, and how: the sentences at the top of the page."""

import math
from dataclasses import replace

import pytest

from llmc.evaluate.stats.units import RATIO
from llmc.judging.flips import collect
from llmc.judging.headline import counts, overall, points_to_loss, preference, recommendation, run_headline, tally
from llmc.report.page import PageOptions, page
from tests.report.made_up_runs import BROKEN, DENSE, GPTQ, write_run

KICK = ("kick/closed_book", "kick/open_book", "kick/instructions")


@pytest.fixture
def three(judge, tmp_path):
    """Collapsed, kept and large, kept and small, given in that order."""
    dense = write_run(tmp_path / "dense", replace(DENSE, tasks=KICK))
    same = {"tasks": KICK, "gained": 0.0, "lost": 0.0, "harm": {}}
    made = [
        replace(BROKEN, tasks=KICK, label="broken"),
        replace(GPTQ, **same, label="large", bytes_on_disk=8_000_000),
        replace(GPTQ, **same, label="small", bytes_on_disk=2_000_000),
    ]
    return judge(dense, [write_run(tmp_path / one.label, one) for one in made])


def test_the_smallest_run_that_keeps_everything_is_taken_and_stands_first(three):
    runs = three.comparison.runs
    assert [run.facts.label for run in runs] == ["small", "large", "broken"]
    assert [one.other.label for one in three.joined] == ["small", "large", "broken"]
    assert three.comparison.title == (
        "Take small: PASS: 4 of 4 confirmed, the smallest of 2 runs that pass; 4.2 × smaller on disk."
    )


def test_the_front_holds_what_no_run_beats_on_size_and_score(three, judge, tmp_path):
    small, large, broken = three.comparison.runs
    assert small.score == large.score == 0.0
    assert [run.on_front for run in (small, large, broken)] == [True, False, False]
    assert (broken.score, broken.score_low, broken.score_high) == (None, None, None)
    twins = judge(tmp_path / "dense", [tmp_path / "small", tmp_path / "small"])
    assert [run.on_front for run in twins.comparison.runs] == [True, True]


def test_the_mean_of_a_run_recovers_its_edges_from_those_of_its_rows(judge, tmp_path):
    """By hand, on rows whose intervals are longer on one side."""
    tasks = ("kick/closed_book", "kick/open_book")
    dense = write_run(tmp_path / "d", replace(DENSE, tasks=tasks))
    other = write_run(tmp_path / "o", replace(GPTQ, tasks=tasks, gained=0.0, lost=0.03, harm={}))
    run = judge(dense, [other]).comparison.runs[0]
    rows = [r.change for r in run.readings if r.level == "task"]
    low = math.hypot(*(c.value - c.low for c in rows)) / 2
    high = math.hypot(*(c.high - c.value for c in rows)) / 2
    assert low > high + 0.05 and run.score == pytest.approx((rows[0].value + rows[1].value) / 2)
    assert (run.score_low, run.score_high) == pytest.approx((run.score - low, run.score + high))


def test_items_follow_their_runs_in_that_order(three):
    flips = collect(three.joined)
    assert {flip.run for flip in flips.items} == {2}
    assert ">broken</option>" in page(three, flips, PageOptions())


def again(run, **changes):
    """The run with other checks, and what is concluded from them."""
    rows = [row.model_copy(update=changes) for row in run.rules]
    concluded = {"rules": rows, "word": overall(rows), "counts": counts(rows), "tally": tally(rows)}
    return run.model_copy(update=concluded)


def test_of_runs_that_lack_something_the_one_that_lacks_least_is_named(three):
    broken = three.comparison.runs[2]
    lost = again(broken, word="FAIL", outcome="fail")
    assert preference(lost) < preference(broken)
    assert recommendation([broken, lost]) == (
        "None of the 2 runs is a PASS. Nearest is broken: FAIL: 0 of 4 confirmed, 4 FAIL; "
        "about as large on disk as dense (0.99 ×)."
    )


def test_a_run_that_lacks_only_certainty_is_named_before_what_no_run_does(three):
    broken = three.comparison.runs[2]
    said = recommendation([again(broken, word="UNDECIDED", outcome="undecided"), broken])
    assert said.startswith("Nearest is broken: UNDECIDED: 0 of 4 confirmed, 4 UNDECIDED; ")
    assert said.endswith("None of the 2 runs is a PASS.")


def undecided(run, **change):
    """The run with one check that is undecided, of another change."""
    row = run.rules[0]
    assert row.unit == "points" and row.tolerance is not None
    other = row.change.model_copy(update=change)
    rows = [row.model_copy(update={"word": "UNDECIDED", "outcome": "undecided", "change": other})]
    return run.model_copy(
        update={"rules": rows, "word": overall(rows), "counts": counts(rows), "tally": tally(rows), "headline": ""}
    )


def test_of_undecided_runs_one_whose_interval_is_a_loss_is_not_nearest_for_its_size(three):
    """24 items of a real model: "nearest" was 3 bits at -19.4 points [-31.7, -6.9], and "no loss is shown there"."""
    small, large, _ = three.comparison.runs
    lossy = undecided(small, value=-19.4, low=-31.7, high=-6.9, n=72)
    open_ = undecided(large, value=-5.6, low=-18.6, high=7.4, n=72)
    assert preference(open_) < preference(lossy)
    assert "Nearest is large" in recommendation([lossy, open_]) and "No loss is shown" in recommendation([lossy, open_])
    name = lossy.rules[0].name
    said = recommendation([lossy, undecided(small, value=-19.4, low=-31.7, high=-6.9, n=72)])
    assert "A loss is likely there, and not confirmed: " in said and "−19.4 points [−31.7, −6.9]" in said, name
    assert "−19.4 points [−31.7, −6.9]" in run_headline("small", lossy.rules, None)


@pytest.mark.parametrize(
    ("value", "low", "high", "points"),
    [(-5.0, -9.0, -1.0, True), (-5.0, -9.0, 0.5, False), (-0.5, -0.9, -0.1, False), (5.0, 1.0, 9.0, False)],
)
def test_a_loss_is_likely_where_it_is_beyond_what_is_allowed_and_the_interval_a_loss(three, value, low, high, points):
    run = undecided(three.comparison.runs[0], value=value, low=low, high=high)
    assert points_to_loss(run.rules[0]) == points
    ratio = run.rules[0].model_copy(update={"unit": RATIO, "tolerance": 1.05, "change": run.rules[0].change.model_copy(
        update={"value": 1 - value / 50, "low": 1 - high / 50, "high": 1 - low / 50})})  # fmt: skip
    assert points_to_loss(ratio) == points


def test_a_size_that_is_not_known_is_said_and_comes_after_known_ones(three):
    small, large, _ = three.comparison.runs
    unknown = small.model_copy(update={"size_ratio": None})
    assert recommendation([unknown]) == "Take small: PASS: 4 of 4 confirmed; its size is not known."
    assert recommendation([unknown, large]).startswith("Take large")


def test_nothing_compared_names_no_run(three):
    empty = three.comparison.runs[0].model_copy(update={"rules": []})
    assert recommendation([empty]) == recommendation([]) == "Nothing was compared."


def test_a_headline_counts_many_losses_instead_of_listing_them(compared):
    by_label = {run.facts.label: run.headline for run in compared.comparison.runs}
    for headline in by_label.values():
        assert headline.count("[") <= 6  # three a word: FAIL, and UNDECIDED where a loss is likely
    assert any(" more." in headline for headline in by_label.values())


def test_undecided_for_want_of_items_says_how_many_there_are_of_how_many(judge, tmp_path):
    """Not "keeps none": nothing is known to be lost where 30 items stand for 100."""
    tasks = ("trust/ethics", "trust/fairness")
    dense = write_run(tmp_path / "dense", replace(DENSE, n=30, tasks=tasks))
    run = judge(dense, [write_run(tmp_path / "a", replace(GPTQ, n=30, tasks=tasks, harm={}))]).comparison.runs[0]
    assert run.tally == "0 of 4 confirmed, 4 UNDECIDED (30 of 100 items)"
    assert run.headline.startswith(f"{GPTQ.label}: UNDECIDED: {run.tally}. UNDECIDED: ") and "none" not in run.headline


def test_a_dimension_of_one_task_is_counted_as_two_checks_and_named_once(compared):
    run = next(run for run in compared.comparison.runs if run.facts.label == GPTQ.label)
    assert {r.name for r in run.rules if r.word == "FAIL"} == {"fairness", "trust/fairness"}
    assert run.headline.count("fairness") == 1 and "2 FAIL" in run.headline


def test_the_page_explains_the_verdicts_that_it_shows_and_says_what_no_run_measured(three):
    text = page(three, collect(three.joined), PageOptions())
    assert "<b>COLLAPSED</b>: the answers are no answers" in text and "<b>PASS</b>: a loss" in text
    assert "<b>NOT COMPARED</b>: the runs differ in what they measured here" not in text
    assert text.index("Not measured:</strong> trust was not evaluated") < text.index("What is bought")
