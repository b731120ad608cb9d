"""Plans which rows of tokens are computed together so that what they share at their beginning is computed once.

Pure: knows no model. A plan covers every row exactly once, and depends on nothing but the rows and the budget.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

GROUP_OVERHEAD = 16
"""What a separate forward pass for a prefix costs, in tokens: smaller savings aren't worth one."""
SMALL_GROUP = 16
"""Groups up to this many rows are packed with others whose prefix is as long."""
ROUND_TO = 8
"""The prefixes of small groups are cut to a multiple of this, so that many are equally long."""


class Row(NamedTuple):
    """A sequence to run through the model."""

    tokens: tuple[int, ...]
    n_read: int
    """Logits are read at this many last positions, which therefore can't be part of a shared prefix."""


class Group(NamedTuple):
    """Rows that share computation: prefixes of one length, and batches of the rows that continue them."""

    prefixes: tuple[tuple[int, ...], ...]
    """Equally long, no two the same; empty when nothing is shared."""
    batches: tuple[tuple[tuple[int, int], ...], ...]
    """(row, index of its prefix) of each batch."""

    @property
    def prefix_length(self) -> int:
        return len(self.prefixes[0]) if self.prefixes else 0


class _Shared(NamedTuple):
    depth: int
    rows: tuple[int, ...]


def plan(rows: Sequence[Row], batch_tokens: int) -> list[Group]:
    """Groups that cover every row once, with batches of at most `batch_tokens` padded tokens (or one row).

    Inside a batch all rows are padded to the longest; prefixes aren't counted, since they are computed once.
    """
    shared = _shared_prefixes(rows)
    alone = sorted(set(range(len(rows))) - {row for group in shared for row in group.rows})
    groups = [_large(group, rows, batch_tokens) for group in shared if len(group.rows) > SMALL_GROUP]
    groups += _small((group for group in shared if len(group.rows) <= SMALL_GROUP), rows, batch_tokens)
    if alone:
        groups.append(Group((), _batches([(row, 0) for row in alone], rows, 0, batch_tokens)))
    return groups


def n_computed(groups: Iterable[Group], rows: Sequence[Row]) -> int:
    """Tokens that the plan runs through the model, padding left out."""
    total = 0
    for group in groups:
        total += group.prefix_length * len(group.prefixes)
        total += sum(len(rows[row].tokens) - group.prefix_length for batch in group.batches for row, _ in batch)
    return total


def common_length(left: Sequence[int], right: Sequence[int]) -> int:
    """The number of tokens that both begin with."""
    n = min(len(left), len(right))
    different = np.nonzero(np.asarray(left[:n]) != np.asarray(right[:n]))[0]
    return int(different[0]) if len(different) else n


def _shared_prefixes(rows: Sequence[Row]) -> list[_Shared]:
    """The disjoint groups of rows that save the most tokens by computing each group's common beginning once.

    Walks the tree of common beginnings of the sorted rows from its leaves: at a node either all its rows form a group,
    or the groups that were best below it stay, and the rows that they leave out form one.
    """
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    limit = [len(rows[i].tokens) - rows[i].n_read for i in order]
    lengths = [common_length(rows[a].tokens, rows[b].tokens) for a, b in itertools.pairwise(order)]

    def group(depth: int, members: Sequence[int]) -> tuple[int, list[_Shared]]:
        """What sharing `depth` tokens among these sorted positions saves, and that group; (0, []) for a loss."""
        if len(members) < 2:
            return 0, []
        usable = min(depth, min(limit[i] for i in members))
        if len(members) <= SMALL_GROUP and usable >= 2 * ROUND_TO:
            usable -= usable % ROUND_TO
        gain = (len(members) - 1) * usable - GROUP_OVERHEAD
        return (gain, [_Shared(usable, tuple(order[i] for i in members))]) if gain > 0 else (0, [])

    def value(depth: int, low: int, high: int, below: tuple[int, list[_Shared]]) -> tuple[int, list[_Shared]]:
        """The better of one group of all, and the groups below with one more of the rows that they leave out."""
        covered = {row for each in below[1] for row in each.rows}
        whole = group(depth, range(low, high))
        rest = group(depth, [i for i in range(low, high) if order[i] not in covered]) if covered else (0, [])
        both = below[0] + rest[0], below[1] + rest[1]
        return whole if whole[0] > both[0] else both

    # An open node: (common length, first row, best of the closed nodes below it).
    open_nodes: list[tuple[int, int, int, list[_Shared]]] = [(0, 0, 0, [])]
    for position in range(1, len(order) + 1):
        length = lengths[position - 1] if position < len(order) else 0
        first, saved, chosen = position - 1, 0, list[_Shared]()
        while open_nodes and open_nodes[-1][0] > length:
            depth, first, inner_saved, inner = open_nodes.pop()
            saved, chosen = value(depth, first, position, (inner_saved + saved, inner + chosen))
        if open_nodes and open_nodes[-1][0] == length:
            depth, low, outer_saved, outer = open_nodes.pop()
            open_nodes.append((depth, low, outer_saved + saved, outer + chosen))
        else:
            open_nodes.append((length, first, saved, chosen))
    return open_nodes[0][3]


def _batches(
    members: Sequence[tuple[int, int]], rows: Sequence[Row], prefix_length: int, batch_tokens: int
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Members in batches of similar length, longest first, each at most `batch_tokens` when padded."""
    ordered = sorted(members, key=lambda member: (-len(rows[member[0]].tokens), member))
    batches: list[tuple[tuple[int, int], ...]] = []
    current: list[tuple[int, int]] = []
    for member in ordered:
        widest = len(rows[(current or [member])[0][0]].tokens) - prefix_length
        if current and widest * (len(current) + 1) > batch_tokens:
            batches.append(tuple(current))
            current = []
        current.append(member)
    return (*batches, tuple(current)) if current else tuple(batches)


def _large(group: _Shared, rows: Sequence[Row], batch_tokens: int) -> Group:
    prefix = rows[group.rows[0]].tokens[: group.depth]
    members = [(row, 0) for row in group.rows]
    return Group((prefix,), _batches(members, rows, group.depth, batch_tokens))


def _small(groups: Iterable[_Shared], rows: Sequence[Row], batch_tokens: int) -> list[Group]:
    """Small groups packed with others of the same depth and similar length, one batch each pack."""
    packed: list[Group] = []
    prefixes: list[tuple[int, ...]] = []
    members: list[tuple[int, int]] = []
    widest, depth = 0, -1

    def close() -> None:
        if members:
            packed.append(Group(tuple(prefixes), _batches(members, rows, depth, batch_tokens)))
        prefixes.clear()
        members.clear()

    def width(group: _Shared) -> int:
        return max(len(rows[row].tokens) for row in group.rows) - group.depth

    for group in sorted(groups, key=lambda group: (-group.depth, -width(group), group.rows)):
        total = max(widest, width(group)) * (len(members) + len(group.rows))
        if group.depth != depth or total > batch_tokens or group.depth * (len(prefixes) + 1) > batch_tokens:
            close()
            widest, depth = 0, group.depth
        prefixes.append(rows[group.rows[0]].tokens[: group.depth])
        members.extend((row, len(prefixes) - 1) for row in group.rows)
        widest = max(widest, width(group))
    close()
    return packed
