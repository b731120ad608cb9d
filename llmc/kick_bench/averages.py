"""Averages of marks over items, with clusters: one way for every task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from llmc.evaluate.stats.estimate import Estimate, clustered_mean, rate
from llmc.evaluate.task import Metric, Scored


def average(scored: Sequence[Scored], mark: str, kind: str) -> Estimate:
    """The mean of a mark over the items that have it; a share where the metric is a proportion."""
    known = [(marked.marks[mark], item.cluster or item.id) for item, marked in scored if mark in marked.marks]
    pairs = [(float(value), cluster) for value, cluster in known if value is not None]
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    return rate(values, clusters) if kind == "proportion" else clustered_mean(values, clusters)


def averages(
    scored: Sequence[Scored], metrics: Mapping[str, Metric], names: Iterable[str] | None = None
) -> dict[str, Estimate]:
    """The average of every metric that any item has a mark for."""
    present = {mark for _, marked in scored for mark in marked.marks}
    wanted = [name for name in names or metrics if name in present]
    return {name: average(scored, name, metrics[name].kind) for name in wanted}
