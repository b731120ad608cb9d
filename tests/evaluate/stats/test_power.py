"""Sizes of samples and the smallest changes that show: the specification's table, and the deciding interval's own."""

import numpy as np
import pytest

from bench.interval_grid import passes
from llmc.evaluate.stats.paired import mean_of_differences, paired_difference
from llmc.evaluate.stats.power import items_needed, smallest_detectable

PLAN = {0.01: (1570, 3925, 7849, 15698), 0.02: (393, 982, 1963, 3925), 0.05: (63, 157, 314, 628)}


def difference(gained, lost, n):
    dense, compressed = np.ones(n), np.ones(n)
    dense[:gained], compressed[gained : gained + lost] = 0.0, 0.0
    return paired_difference(dense, compressed, np.arange(n))


@pytest.mark.parametrize("margin, sizes", PLAN.items())
def test_items_for_a_margin_are_about_the_specifications(margin, sizes):
    """Report.md section 6: flip rates 2, 5, 10 and 20 %, no true change; more where a score interval is wider."""
    for flip_rate, n in zip((0.02, 0.05, 0.1, 0.2), sizes, strict=True):
        asked = items_needed(difference(int(500 * flip_rate), int(500 * flip_rate), 1000), margin)
        extra = 12 / (n * margin)  # Tango's q^2 / n and the room for a loss of 1 that was not seen
        assert n <= asked <= n * (1 + extra)


@pytest.mark.parametrize("gained, lost, margin", [(9, 14, 0.01), (2, 2, 0.03), (20, 45, 0.06), (10, 90, 0.04)])
def test_that_many_items_settle_it_in_80_percent(gained, lost, margin):
    """The counts drawn again with as many items as asked for: kept, or lost where the change is beyond the margin."""
    n = 1000
    asked = items_needed(difference(gained, lost, n), margin)
    chances = [gained / n, lost / n, 1 - (gained + lost) / n]
    change = np.random.default_rng(0).choice([1.0, -1.0, 0.0], p=chances, size=(400, asked, 1))
    sign = 1 if lost - gained < n * margin else -1  # lost is kept of the swapped runs, at minus the margin
    assert passes(sign * change, sign * margin, binary=True)[1].mean() == pytest.approx(0.80, abs=0.07)


def test_a_change_on_the_margin_is_never_settled():
    assert items_needed(difference(0, 10, 1000), 0.01) is None
    assert items_needed(paired_difference(np.ones(2), np.zeros(2), np.zeros(2, dtype=np.int64)), 0.01) is None


def test_a_smaller_known_loss_needs_more_items():
    half = items_needed(difference(20, 30, 1000), 0.02)
    assert half == pytest.approx(4 * items_needed(difference(25, 25, 1000), 0.02), rel=0.1)


def test_a_mean_of_tasks_needs_as_many_of_each():
    """Four tasks alike: half the error, so a quarter of the items of each, as many in all."""
    one = difference(25, 25, 1000)
    four = mean_of_differences([one] * 4)
    assert items_needed(four, 0.01) == pytest.approx(items_needed(one, 0.01), rel=0.05)


def test_items_without_a_change_need_room_for_what_they_missed():
    """q^2 / n of Tango's interval: 3.84 / 0.01 = 384 items less 4."""
    assert items_needed(difference(0, 0, 200), 0.01) == pytest.approx(381, abs=2)


@pytest.mark.parametrize("n", [500, 1000, 2000])
def test_the_smallest_detectable_change_is_found_in_80_percent(n):
    flip_rate = 0.06
    flips = round(n * flip_rate / 2)
    change = smallest_detectable(difference(flips, flips, n))
    assert change == pytest.approx(2.80 * np.sqrt(flip_rate / n), rel=0.06)
    shares = [(flip_rate - change) / 2, (flip_rate + change) / 2]
    drawn = np.random.default_rng(n).choice([1.0, -1.0, 0.0], p=[*shares, 1 - flip_rate], size=(800, n, 1))
    assert passes(-drawn, 0.0, binary=True)[1].mean() == pytest.approx(0.82, abs=0.06)


def test_the_smallest_detectable_change_of_graded_marks_has_the_room_in_it():
    """100 items that move by 0.05: Student's 2.80 errors would be 1.4 points and show in a third of the draws."""
    random, n = np.random.default_rng(3), 100
    noise = np.tile([-0.05, 0.05], n // 2)
    base = paired_difference(np.full(n, 0.5), 0.5 + noise, np.arange(n), largest=1.0)
    change = smallest_detectable(base)
    assert change > 1.5 * 2.80 * base.stderr
    drawn = random.choice([-0.05, 0.05], size=(1500, n, 1)) - change
    assert passes(-drawn, 0.0, binary=False)[1].mean() == pytest.approx(0.80, abs=0.08)
