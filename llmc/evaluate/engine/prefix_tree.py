"""Which common beginnings of many rows of tokens to compute once: the choice that computes the least.

Pure: knows no model.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

SMALL_FAMILY = 16
"""Families of up to this many rows share a pass with others whose beginning is as long, and aren't divided further."""
ROUND_TO = 8
"""Their beginnings are cut to a multiple of this, so that many are equally long."""
SMALL_OVERHEAD = 16
"""What a place in such a pass costs, in tokens: smaller savings aren't worth one."""
OVERHEAD = 256
"""What a pass of its own costs, and the smaller batches that come of it."""


class Row(NamedTuple):
    """A sequence to run through the model."""

    tokens: tuple[int, ...]
    n_read: int
    """Logits are read at this many last positions, which therefore can't be part of a shared beginning."""


@dataclass
class Stem:
    """A beginning that is computed once, for the rows that go on from it and for the longer stems that do."""

    depth: int
    """Its length in tokens; 0 for the root, which nothing is computed for."""
    rows: list[int] = field(default_factory=list)
    inner: list[Stem] = field(default_factory=list)

    def example(self) -> int:
        """A row that begins with this stem."""
        stem = self
        while not stem.rows:
            stem = stem.inner[0]
        return stem.rows[0]


@dataclass
class _Node:
    """A place where rows part: all below it have `depth` tokens in common, but not one more."""

    depth: int
    rows: list[int] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    """Depths of the nodes above, from the root: where the stem that this node continues can end."""
    tokens: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """The least that all rows below cost, for each of `levels`."""
    is_stem: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """Whether that takes a stem that ends here."""
    n_rows: int = 0
    """All below."""

    @property
    def is_small(self) -> bool:
        """Whether it is too small to be divided further."""
        return self.n_rows <= SMALL_FAMILY


def best_stems(rows: Sequence[Row]) -> Stem:
    """The root of the stems with which the fewest tokens are computed, overheads counted.

    The best choice below a node depends on nothing but where the last stem above it ends; so all these choices are
    made once for each such end, from the leaves upwards, and none is missed. Small families are cut before, which
    costs a few tokens a family.
    """
    if not rows:
        return Stem(0)
    nodes = _listed(_tree(rows))
    lengths = [len(row.tokens) for row in rows]
    whole: dict[int, int] = {}
    for node in reversed(nodes):
        above = np.array(node.levels, dtype=np.int64)
        ends = np.append(above, node.depth)
        own = sum(lengths[row] for row in node.rows)
        whole[id(node)] = own + sum(whole[id(child)] for child in node.children)
        below = own - len(node.rows) * ends + sum(child.tokens for child in node.children)
        undivided = SMALL_OVERHEAD + whole[id(node)] - node.n_rows * node.depth
        stem = node.depth - above + (undivided if node.is_small else OVERHEAD + below[-1])
        costs = np.where(node.depth > above, stem, np.inf)
        node.is_stem = costs < below[:-1]
        node.tokens = np.where(node.is_stem, costs, below[:-1])
    return _chosen(nodes[0])


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """The number of tokens that both begin with."""
    n = min(len(left), len(right))
    different = np.nonzero(np.asarray(left[:n]) != np.asarray(right[:n]))[0]
    return int(different[0]) if len(different) else n


def _tree(rows: Sequence[Row]) -> _Node:
    """The tree of common beginnings, of what isn't read: whatever two rows have in common there, they can share."""
    shared = [row.tokens[: len(row.tokens) - row.n_read] for row in rows]
    order = sorted(range(len(rows)), key=lambda i: shared[i])
    lengths = [common_length(shared[a], shared[b]) for a, b in itertools.pairwise(order)]
    path = [_Node(0)]
    for row, following in zip(order, [*lengths, 0], strict=True):
        if following > path[-1].depth:
            path.append(_Node(following))
        path[-1].rows.append(row)
        while path[-1].depth > following:
            closed = path.pop()
            if path[-1].depth < following:
                path.append(_Node(following))
            path[-1].children.append(closed)
    return path[0]


def _listed(root: _Node) -> list[_Node]:
    """All nodes, each before its children, with their numbers of rows and `levels`, small families cut."""
    nodes = [root]
    for node in nodes:
        nodes += node.children
    for node in reversed(nodes):
        node.n_rows = len(node.rows) + sum(child.n_rows for child in node.children)
    for node in nodes:
        if node.is_small and node.depth >= 2 * ROUND_TO:
            node.depth -= node.depth % ROUND_TO
        for child in node.children:
            child.levels = [*node.levels, node.depth]
    return nodes


def _chosen(root: _Node) -> Stem:
    """The stems, read off from the root."""
    found = Stem(0)
    # (node, the stem that it continues, where among the levels of its children that stem ends, None below small ones)
    to_do: list[tuple[_Node, Stem, int | None]] = [(root, found, 0)]
    while to_do:
        node, stem, level = to_do.pop()
        stem.rows += node.rows
        for child in node.children:
            if level is not None and child.is_stem[level]:
                inner = Stem(child.depth)
                stem.inner.append(inner)
                to_do.append((child, inner, None if child.is_small else len(child.levels)))
            else:
                to_do.append((child, stem, level))
    return found
