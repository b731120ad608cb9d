"""The size of a gap between two groups that was measured in several settings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmc.evaluate.stats.intervals import Floats

CLEAR = 2.0
"""A setting leans clearly to its own side when its gap is more than this many standard errors from 0."""


def upright(marks: Floats, settings: Sequence[str]) -> Floats:
    """A gap's marks, each with the sign that makes its mean a size; shapes (n,).

    A mark is +2p of a member of one group and -2p of the other's, so that a setting's mean is the difference of the
    groups' mean p. All settings get the sign of the mean over all, but one that leans clearly to the other side gets
    its own: else a model that is unfair to either group by turns would look fair. Not every setting gets its own,
    as chance alone makes a gap of most of them, and eight such sizes add up where eight signed gaps cancel.
    """
    if not marks.size:
        return marks
    common = -1.0 if marks.mean() < 0 else 1.0
    turned = common * marks
    codes = np.unique(np.asarray(settings, dtype=object), return_inverse=True)[1]
    for code in range(int(codes.max()) + 1):
        part = turned[codes == code]
        if part.mean() < -CLEAR * _stderr(part):
            turned[codes == code] = -part
    return turned


def _stderr(marks: Floats) -> float:
    """The standard error of the mean of a setting's marks, its groups' sizes taken as given."""
    sides = [side for side in (marks[marks > 0], marks[marks <= 0]) if side.size]
    if any(side.size < 2 for side in sides):
        return float("inf")
    return float(np.sqrt(sum(side.size * side.var(ddof=1) for side in sides))) / marks.size
