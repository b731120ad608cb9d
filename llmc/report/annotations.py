"""GitHub workflow commands that show the gate's losses on the lines of its policy."""

from __future__ import annotations

import re

from llmc.harmless import line
from llmc.judging.comparison import Comparison, Row
from llmc.judging.rows import worst_first

_MOST = 9
"""GitHub shows ten of a kind and step; the tenth says how many more there are."""


def github_annotations(comparison: Comparison) -> list[str]:
    """`::error file=gate.toml,line=4,title=trust/privacy FAIL::sentence` for every check that does not pass.

    A notice with all counts comes first; checks that the policy excuses are in it and have none of their own.
    """
    path, run = comparison.policy.path, comparison.runs[0]
    rows = [row for row in worst_first(run.rules) if row.outcome in ("fail", "undecided", "error")]
    lines = [f"::notice title={_property(f'llmc gate {run.word}')}::{_data(f'{run.facts.label}: {run.tally}')}"]
    lines += [_annotation(row, path, comparison.policy.undecided) for row in rows[:_MOST]]
    if len(rows) > _MOST:
        lines.append(f"::error title=llmc gate::and {len(rows) - _MOST} more in the report")
    return lines


def _annotation(row: Row, path: str | None, undecided: str) -> str:
    level = "warning" if row.outcome == "undecided" and undecided != "fail" else "error"
    place = f"file={_property(path)},line={row.line or 1}," if path else ""
    title = _property(f"{row.rule}/{row.name} {row.word}")
    return f"::{level} {place}title={title}::{_data(row.sentence)}"


def _data(text: str) -> str:
    """Text behind the second `::`, which it holds none of itself."""
    coded = line(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))
    return re.sub(":(?=:)", ": ", coded)


def _property(text: str) -> str:
    return _data(text).replace(": :", "::").replace(":", "%3A").replace(",", "%2C")
