"""Plans which rows of tokens are computed together so that what they share at their beginning is computed once.

Pure: knows no model. A plan covers every row exactly once, and depends on nothing but the rows and the budget.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmc.evaluate.engine.prefix_tree import SMALL_FAMILY, Row, Stem, best_stems

READ_TOKENS = 32
"""Tokens that the rows of a batch may look back on, over the tokens that they may have: keys and values are joined for
each row, one layer at a time, which takes memory."""


class Group(NamedTuple):
    """Rows that share computation: what they all begin with, how families of them go on, and batches of their ends."""

    stems: tuple[tuple[int, ...], ...]
    """The beginning of all rows, in pieces: groups with the same first pieces compute them once."""
    prefixes: tuple[tuple[int, ...], ...]
    """What follows the stems in some of the rows, equally long, no two the same; empty when nothing does."""
    batches: tuple[tuple[tuple[int, int], ...], ...]
    """(row, index of its prefix) of each batch."""

    @property
    def prefix_length(self) -> int:
        """Tokens of a row that are computed before its batch."""
        return sum(map(len, self.stems)) + (len(self.prefixes[0]) if self.prefixes else 0)


def plan(rows: Sequence[Row], batch_tokens: int) -> list[Group]:
    """Groups that cover every row once, with batches of at most `batch_tokens` padded tokens (or one row).

    Inside a batch all rows are padded to the longest; what they share isn't counted, since it is computed once. Groups
    with a stem in common follow one another.
    """
    groups: list[Group] = []
    to_do: list[tuple[tuple[tuple[int, ...], ...], Stem]] = [((), best_stems(rows))]
    while to_do:
        stems, stem = to_do.pop()
        families = [inner for inner in stem.inner if not inner.inner and len(inner.rows) <= SMALL_FAMILY]
        groups += _packed(stems, stem.depth, families, rows, batch_tokens)
        if stem.rows:
            batches = _batches([(row, 0) for row in stem.rows], rows, stem.depth, batch_tokens)
            groups.append(Group(stems, (), batches))
        for inner in reversed(stem.inner):
            if inner.inner or len(inner.rows) > SMALL_FAMILY:
                piece = rows[inner.example()].tokens[stem.depth : inner.depth]
                to_do.append(((*stems, piece), inner))
    return groups


def unshared(rows: Sequence[Row], batch_tokens: int) -> list[Group]:
    """The same with nothing shared."""
    return [Group((), (), _batches([(row, 0) for row in range(len(rows))], rows, 0, batch_tokens))] if rows else []


def n_alike(left: Sequence[tuple[int, ...]], right: Sequence[tuple[int, ...]]) -> int:
    """The number of pieces that both begin with."""
    pairs = zip(left, right, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


def _batches(
    members: Sequence[tuple[int, int]], rows: Sequence[Row], prefix_length: int, batch_tokens: int
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Members in batches of similar length, longest first, each at most `batch_tokens` when padded."""
    ordered = sorted(members, key=lambda member: (-len(rows[member[0]].tokens), member))
    batches: list[tuple[tuple[int, int], ...]] = []
    current: list[tuple[int, int]] = []
    for member in ordered:
        longest = len(rows[(current or [member])[0][0]].tokens)
        n = len(current) + 1
        too_wide = (longest - prefix_length) * n > batch_tokens
        if current and (too_wide or longest * n > READ_TOKENS * batch_tokens):
            batches.append(tuple(current))
            current = []
        current.append(member)
    return (*batches, tuple(current)) if current else tuple(batches)


def _packed(
    stems: tuple[tuple[int, ...], ...], known: int, families: Iterable[Stem], rows: Sequence[Row], batch_tokens: int
) -> list[Group]:
    """Families below one stem of `known` tokens, those of equal depth together: prefixes of `batch_tokens` a group.

    A group's rows are batched by their own lengths, whatever family they are of.
    """
    by_depth: dict[int, list[Stem]] = defaultdict(list)
    for each in families:
        by_depth[each.depth].append(each)
    packed = []
    for depth, equal in sorted(by_depth.items(), reverse=True):
        equal.sort(key=lambda each: (-max(len(rows[row].tokens) for row in each.rows), min(each.rows)))
        at_once = max(1, batch_tokens // (depth - known))
        for first in range(0, len(equal), at_once):
            pack = equal[first : first + at_once]
            prefixes = tuple(rows[each.rows[0]].tokens[known:depth] for each in pack)
            members = [(row, number) for number, each in enumerate(pack) for row in each.rows]
            packed.append(Group(stems, prefixes, _batches(members, rows, depth, batch_tokens)))
    return packed
