"""Which run is named, and how: the sentences at the top of the page."""

import math
from dataclasses import replace

import pytest

from llmc.report.flips import collect
from llmc.report.headline import preference, recommendation
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
        "Take small: it keeps all 3 knowledge tasks, the smallest of 2 runs that do; 4.2 × smaller on disk."
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


def test_of_runs_that_lack_something_the_one_that_lacks_least_is_named(three):
    broken = three.comparison.runs[2]
    lost = broken.model_copy(
        update={"readings": [r.model_copy(update={"code": "lost", "name": "kick/x"}) for r in broken.readings]}
    )
    assert preference(lost) < preference(broken)
    assert recommendation([broken, lost]).startswith("None of the 2 runs keeps everything that was asked. Nearest is")
    assert recommendation([broken, lost]).count("x") >= 3 and "collapsed" not in recommendation([broken, lost])


def test_a_run_that_lacks_only_certainty_is_named_before_what_no_run_does(three):
    broken = three.comparison.runs[2]
    open_ = [r.model_copy(update={"code": "undecided"}) for r in broken.readings]
    said = recommendation([broken.model_copy(update={"readings": open_}), broken])
    assert said.startswith("Nearest is broken: nothing is shown to be lost, but 3 undecided (closed book, ")
    assert said.endswith("None of the 2 runs keeps everything that was asked.")


def test_a_size_that_is_not_known_is_said_and_comes_after_known_ones(three):
    small, large, _ = three.comparison.runs
    unknown = small.model_copy(update={"size_ratio": None})
    assert recommendation([unknown]) == "Take small: it keeps all 3 knowledge tasks; its size is not known."
    assert recommendation([unknown, large]).startswith("Take large")


def test_nothing_compared_names_no_run(three):
    empty = three.comparison.runs[0].model_copy(update={"readings": []})
    assert recommendation([empty]) == recommendation([]) == "Nothing was compared."


def test_a_headline_counts_many_losses_instead_of_listing_them(compared):
    by_label = {run.facts.label: run.headline for run in compared.comparison.runs}
    for headline in by_label.values():
        assert headline.count("[") <= 2
    assert any(" more;" in headline for headline in by_label.values())


def test_the_page_explains_the_verdicts_that_it_shows_and_says_what_no_run_measured(three):
    text = page(three, collect(three.joined), PageOptions())
    assert "<b>collapsed</b>: the answers are no answers" in text and "<b>kept</b>: a loss" in text
    assert "<b>not compared</b>" not in text
    assert text.index("Not measured:</strong> trust was not evaluated") < text.index("What is bought")
