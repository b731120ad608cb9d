"""Every task of our suites, found without loading what answers them."""

from __future__ import annotations

from llmc.catalog import catalog
from llmc.evaluate.task import Task


def own_tasks() -> dict[str, Task]:
    """Every task of our suites by name."""
    found: dict[str, Task] = dict(catalog("llmc.kick_bench.tasks", "TASK"))
    for dimension in catalog("llmc.trust.dimensions", "DIMENSION").values():
        found |= {task.name: task for task in dimension.tasks}
    return found
