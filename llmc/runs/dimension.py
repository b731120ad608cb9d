"""A trust dimension's score, from what its tasks' results say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmc.evaluate.stats.estimate import Estimate


def dimension_result(dimension: Any, tasks: Mapping[str, Any]) -> dict[str, Any]:
    """A trust dimension's score from the estimates of those of its tasks that were asked, by its own rule."""
    names = [task.name for task in dimension.tasks]
    known = {name: _estimates(tasks[name]["metrics"]) for name in names if name in tasks}
    return {"score": dimension.combine(known), "tasks": names, "benign": bool(dimension.benign)}


def _estimates(metrics: Mapping[str, Any]) -> dict[str, Estimate]:
    return {
        name: Estimate(
            each["value"],
            each.get("stderr"),
            each.get("n", 0),
            None if (edges := each.get("ci95")) is None else tuple(edges),
        )
        for name, each in metrics.items()
    }
