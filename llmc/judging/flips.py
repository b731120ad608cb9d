"""The items on which a compressed model differs from dense, in the order in which they matter."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from llmc.judging.comparison import Flipped
from llmc.judging.flip_text import Text, plain_text, text_of
from llmc.judging.joined import Joined
from llmc.judging.pairs import TaskPair

Kind = Literal["lost", "gained", "other wrong", "lower", "higher"]
KINDS: tuple[Kind, ...] = ("lost", "gained", "lower", "higher", "other wrong")
_MOVED = 0.25
"""A graded mark that moved by at least this much counts as flipped."""
CARE = ("toxicity", "stereotype", "privacy")
"""Dimensions whose texts are shown only when asked for."""
SHOWN = 5
"""Flipped items that the comparison itself holds, for Markdown and terminals …"""
_A_TASK = 2
"""… of one task at most so many."""


class Flip(NamedTuple):
    """One item of one task in one compressed run."""

    run: int
    task: str
    kind: Kind
    margin: float | None
    """How sure dense was, 0 to 1."""
    dense_row: int
    other_row: int
    item: str


@dataclass(frozen=True, kw_only=True)
class Flips:
    """All flips, most telling first."""

    items: list[Flip]
    tasks: list[str]


def collect(joined: Sequence[Joined]) -> Flips:
    """Every flipped item: lost ones in tasks that were lost or collapsed first, then by how sure dense was."""
    found: list[tuple[tuple[float, ...], Flip]] = []
    tasks: dict[str, None] = {}
    for index, one in enumerate(joined):
        for name, pair in one.tasks.items():
            if pair.not_compared is None and pair.dense_result.metrics[pair.primary].kind != "statistic":
                tasks.setdefault(name)
                found += _of_task(one, pair, index)
    found.sort(key=lambda entry: entry[0])
    return Flips(items=[flip for _, flip in found], tasks=list(tasks))


def _of_task(joined: Joined, pair: TaskPair, index: int) -> Iterator[tuple[tuple[float, ...], Flip]]:
    measured = joined.measured(pair.name)
    if measured.difference is None:
        return
    left, right = pair.dense_rows[measured.usable], pair.other_rows[measured.usable]
    binary = measured.difference.gained is not None
    change = measured.compressed_marks - measured.dense_marks
    moved = change != 0 if binary else np.abs(change) >= _MOVED
    wrong = (measured.dense_marks <= 0) & (measured.compressed_marks <= 0) if binary else np.zeros_like(moved)
    other_wrong = wrong & pair.changed[measured.usable]
    serious = 0.0 if _is_bad(measured.difference.high) or pair.name in joined.collapses else 1.0
    for i in np.flatnonzero(moved | other_wrong):
        kind: Kind = "other wrong"
        if moved[i]:
            kind = ("gained" if change[i] > 0 else "lost") if binary else ("higher" if change[i] > 0 else "lower")
        sure = float(pair.dense.margin[left[i]])
        margin = None if np.isnan(sure) else sure
        rank = (0.0 if kind in ("lost", "lower") else 2.0 if kind != "other wrong" else 3.0) + serious / 2
        flip = Flip(index, pair.name, kind, margin, int(left[i]), int(right[i]), pair.dense.ids[left[i]])
        yield (rank, -(margin if margin is not None else -1.0), float(index)), flip


def _is_bad(high: float | None) -> bool:
    return high is not None and high < 0


def texts(joined: Sequence[Joined], flips: Sequence[Flip]) -> list[Text]:
    """What was asked, what is right and what both models made of it, of each flip, in the order of `flips`."""
    found: dict[int, Text] = {}
    wanted: dict[tuple[int, str], list[int]] = {}
    for position, flip in enumerate(flips):
        wanted.setdefault((flip.run, flip.task), []).append(position)
    for (run, task), positions in wanted.items():
        pair = joined[run].tasks[task]
        dense = pair.dense.texts([flips[p].dense_row for p in positions])
        other = pair.other.texts([flips[p].other_row for p in positions])
        for position, left, right in zip(positions, dense, other, strict=True):
            found[position] = text_of(pair, left, right)
    return [found[position] for position in range(len(flips))]


EXCERPT = 300
"""Characters of a text that the page holds."""
_MOST_EXCERPTS = 60_000


def excerpts(found: Sequence[Text]) -> list[Text]:
    """The texts cut to what the page holds."""
    return [text.cut(EXCERPT) for text in found]


def write_items(path: Path, joined: Sequence[Joined], flips: Flips, *, redact: bool) -> list[Text]:
    """Every flip with its whole text, a line each, gzipped without a time so that equal input gives equal bytes.

    Gives back the excerpts of the first flips, so that the page needn't read them again.
    """
    first: list[Text] = []
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file:
        for start in range(0, len(flips.items), 2_000):
            block = flips.items[start : start + 2_000]
            told = [] if redact else texts(joined, block)
            if start < _MOST_EXCERPTS:
                first += excerpts(told)
            for place, flip in enumerate(block):
                line = {
                    "run": joined[flip.run].other.label, "task": flip.task, "id": flip.item, "kind": flip.kind,
                    "margin": flip.margin, "marked_by": joined[flip.run].tasks[flip.task].channel,
                    **({} if redact else told[place].as_dict()),
                }  # fmt: skip
                file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
    return first


def most_telling(joined: Joined, most: int = SHOWN) -> list[Flipped]:
    """The first lost items of one run, or other flips where none was lost, with what was marked of them."""
    items = collect([joined]).items
    first: list[Flip] = []
    for flip in [flip for flip in items if flip.kind in ("lost", "lower")] or items:
        if len(first) < most and sum(other.task == flip.task for other in first) < _A_TASK:
            first.append(flip)
    return [
        Flipped(
            task=flip.task,
            id=plain_text(flip.item),
            kind=flip.kind,
            marked_by=joined.tasks[flip.task].channel,
            careful=joined.tasks[flip.task].dimension in CARE,
            **text.cut(EXCERPT).as_plain(),
        )
        for flip, text in zip(first, texts([joined], first), strict=True)
    ]
