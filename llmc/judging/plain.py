"""Rows without a paired difference: a verdict, its sentence and what was found."""

from __future__ import annotations

from typing import NamedTuple

from llmc.evaluate.stats.verdict import Verdict
from llmc.evaluate.stats.wording import WORDS
from llmc.judging.comparison import Row
from llmc.judging.rows import Judging
from llmc.judging.subjects import Subject


class Said(NamedTuple):
    """A verdict in words."""

    verdict: Verdict
    sentence: str
    found: str


def not_compared(reason: str) -> Said:
    """The verdict on what could not be compared, and why."""
    return Said(Verdict(code="not-compared", why="not compared"), f"NOT COMPARED: {reason}.", reason)


def plain_row(
    rule: str, subject: Subject | None, metric: str, asked: str, said: Said, judging: Judging, line: int | None
) -> Row:
    """The row of a rate or, without a subject, of a budget; judged and excused."""
    word = WORDS[said.verdict.code]
    row = Row(
        rule=rule,
        level="budget" if subject is None else subject.level,
        name=metric if subject is None else subject.name,
        suite=None if subject is None else subject.suite,
        dimension=None if subject is None else subject.dimension,
        tasks=[] if subject is None else list(subject.tasks),
        metric=metric,
        unit="",
        asked=asked,
        tolerance=None,
        dense=None,
        compressed=None,
        change=None,
        code=said.verdict.code,
        word=word,
        why=said.verdict.why,
        sentence=said.sentence,
        found=said.found,
        notes=[],
        outcome=judging.outcome(word, allowed=False),
        waiver=None,
        line=line,
        worst_items=[],
    )
    return judging.excuse(row)
