"""Which items a scale takes, and where the mini world's come from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from llmc.data.world.items import mini_items
from llmc.evaluate.task import Item

T = TypeVar("T")


def rank(key: str) -> str:
    """A fixed shuffle: sorting by it mixes the items, the same way for everyone, forever."""
    return hashlib.sha256(f"llmc/{key}".encode()).hexdigest()


def nested(items: Sequence[T], key: Callable[[T], str], n: int | None) -> list[T]:
    """The first `n` items of the fixed shuffle; a larger `n` extends a smaller one."""
    return sorted(items, key=lambda item: rank(key(item)))[:n]


def in_turn(items: Sequence[T], group: Callable[[T], Hashable], n: int | None) -> list[T]:
    """The first `n` items of each group, group after group in turn, so that any beginning is spread over all groups."""
    count: dict[Hashable, int] = {}
    placed = []
    for item in items:
        number = count[group(item)] = count.get(group(item), -1) + 1
        if n is None or number < n:
            placed.append((number, item))
    return [item for _, item in sorted(placed, key=lambda pair: pair[0])]


def repeated(items: Sequence[Item]) -> list[Item]:
    """The items with ids that differ: the second of an id becomes ID-2. An item and its repeats are one cluster."""
    count: dict[str, int] = {}
    named = []
    for item in items:
        number = count[item.id] = count.get(item.id, 0) + 1
        cluster = item.cluster or item.id
        named.append(replace(item, id=item.id if number == 1 else f"{item.id}-{number}", cluster=cluster))
    return named


def mini(task: str, seed: int) -> list[dict[str, Any]]:
    """The mini world's items of a task, in the fixed shuffle."""
    return nested(mini_items(task, seed), lambda item: str(item["id"]), None)
