"""Sizes of samples against the specification's table and against simulated power."""

import numpy as np
import pytest

from llmc.evaluate.power import items_needed, smallest_detectable
from llmc.evaluate.tango import tango_statistic

PLAN = {0.01: (1570, 3925, 7849, 15698), 0.02: (393, 982, 1963, 3925), 0.05: (63, 157, 314, 628)}


@pytest.mark.parametrize("margin, sizes", PLAN.items())
def test_items_for_a_margin_are_the_specifications(margin, sizes):
    """Report.md section 6: flip rates 2, 5, 10 and 20 %, no true change."""
    for flip_rate, n in zip((0.02, 0.05, 0.1, 0.2), sizes, strict=True):
        assert items_needed(flip_rate, margin) == pytest.approx(n, abs=1)


def test_a_change_on_the_margin_is_never_settled():
    assert items_needed(0.05, 0.01, change=-0.01) is None


def test_a_smaller_known_loss_needs_more_items():
    assert items_needed(0.05, 0.02, change=-0.01) == pytest.approx(4 * items_needed(0.05, 0.02), abs=4)


@pytest.mark.parametrize("n", [500, 1000, 2000])
def test_the_smallest_detectable_change_is_found_in_80_percent(n):
    flip_rate = 0.06
    change = smallest_detectable(np.sqrt(flip_rate / n))
    shares = [(flip_rate + change) / 2, (flip_rate - change) / 2]
    tables = np.random.default_rng(n).multinomial(n, [*shares, 1 - flip_rate], size=4_000)
    found = np.mean([tango_statistic(int(b), int(c), n, 0.0) > 1.96 for b, c, _ in tables])
    assert found == pytest.approx(0.80, abs=0.03)
