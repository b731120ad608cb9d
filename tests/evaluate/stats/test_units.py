"""One unit for a metric: nats become the ratio of perplexities that they are the logarithm of."""

import math

import numpy as np
import pytest

from llmc.evaluate.stats.paired import paired_difference
from llmc.evaluate.stats.units import RATIO, margin_in, shown, shown_edges, turned
from llmc.evaluate.stats.verdict import Evidence, Limits, settle
from llmc.evaluate.stats.wording import estimate, points, sentence


def test_a_difference_in_nats_is_shown_as_the_ratio_of_the_perplexities():
    dense, compressed = 1.4, 1.49
    gained = dense - compressed
    assert shown(gained, RATIO) == pytest.approx(math.exp(compressed) / math.exp(dense))
    assert shown(0.0, RATIO) == 1.0 and shown(-0.031, "points") == pytest.approx(-3.1)
    assert turned(shown(gained, RATIO), RATIO) < 0 < turned(shown(-gained, RATIO), RATIO)
    assert turned(-3.1, "points") == -3.1


def test_edges_stand_in_the_order_of_what_is_shown():
    low, high = shown_edges(-0.10, -0.05, RATIO)
    assert (low, high) == (pytest.approx(math.exp(0.05)), pytest.approx(math.exp(0.10)))
    assert shown_edges(-0.02, 0.01, "points") == (pytest.approx(-2.0), pytest.approx(1.0))
    assert shown_edges(None, 0.1, RATIO) == (None, None)


def test_five_percent_of_dense_is_what_makes_the_perplexity_five_percent_larger():
    assert shown(-margin_in(0.05, RATIO), RATIO) == pytest.approx(1.05)
    assert margin_in(0.05, "points") == 0.05
    assert points(margin_in(0.05, RATIO), RATIO) == "1.05 × dense"


@pytest.mark.parametrize(
    "ratio, word, said",
    [
        (1.00, "PASS", "a perplexity above 1.05 × dense is ruled out"),
        (1.01, "PASS", "measurably higher"),
        (1.20, "FAIL", "that is above the 1.05 × dense allowed"),
        (0.90, "PASS", "better than dense"),
    ],
)
def test_the_verdict_on_a_perplexity_is_that_on_its_ratio(ratio, word, said):
    nats = np.random.default_rng(0).normal(2.0, 0.3, 300)
    worse = nats + math.log(ratio) + np.random.default_rng(1).normal(0, 0.01, 300)
    d = paired_difference(-nats, -worse, np.arange(300))
    row = Evidence(name="kick/perplexity", difference=d, margin=margin_in(0.05, RATIO))
    text = sentence(row, settle([row], Limits())[0], Limits(), RATIO)
    assert text.startswith(word) and said in text and "× dense" in text and "points" not in text
    assert float(estimate(d, row.margin, RATIO).split()[0]) == pytest.approx(ratio, abs=0.005) and "−" not in estimate(
        d, row.margin, RATIO
    )
