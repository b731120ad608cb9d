"""A task that judges its own collapse is believed from as many items on as decide anything."""

import pytest

from llmc.evaluate.collapse import MIN_ITEMS
from llmc.evaluate.runner import Asked, summary
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import Ask, Item, Marked, Metric, TaskContext


class Fallen:
    """A task that finds every model collapsed."""

    name, suite, dimension, version, source, primary = "toy/fallen", "toy", None, 1, "none", "score"
    metrics = {"score": Metric(), "collapsed": Metric()}  # noqa: RUF012

    def summarise(self, scored):
        return {"score": Estimate(None), "collapsed": Estimate(1.0, None, len(scored))}


@pytest.mark.parametrize(("n", "shown"), [(20, None), (MIN_ITEMS - 1, None), (MIN_ITEMS, 1.0)])
def test_fewer_items_than_decide_anything_are_not_called_collapsed(n, shown):
    ask = Ask(kind="generate_until", context="?", max_new_tokens=1)
    items = tuple(Item(id=str(i), requests=(ask,), question="?") for i in range(n))
    found = summary(Asked(Fallen(), items, TaskContext()), [Marked(marks={})] * n, [], has_texts=False)
    assert found["metrics"]["collapsed"]["value"] == shown and found["collapsed"] is (shown is not None)
