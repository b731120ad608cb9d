"""lm-eval's own tasks in the form of a run."""

import math

from llmc.evaluate.foreign import _metric


def test_a_metric_that_is_no_number_is_undefined_in_the_results():
    lines = [{"marks": {"perplexity": None}}]
    for value in (math.nan, math.inf):
        assert _metric("perplexity", value, lines, higher=False)["value"] is None


def test_a_mean_of_marks_gets_its_error():
    lines = [{"marks": {"acc": mark}} for mark in (0.0, 1.0, 1.0, 1.0)]
    found = _metric("acc", 0.75, lines, higher=True)
    assert found["kind"] == "proportion" and found["stderr"] is not None
