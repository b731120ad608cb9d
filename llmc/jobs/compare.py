"""Reads runs and a policy and judges them: the part that `llmc compare` and `llmc gate` share."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path

from llmc.judging.judge import Compared, compare, refuse_itself, refuse_swapped
from llmc.judging.policy_file import load_policy
from llmc.report.policy_names import check_names
from llmc.runs.reader import load_run, told_apart


def judged(dense: Path, runs: Sequence[Path], policy: Path | None, *, command: Sequence[str]) -> Compared:
    """The comparison of run directories under a policy file, or under the built-in policy."""
    file = load_policy(policy)
    now = datetime.datetime.now(datetime.timezone.utc)
    line = shlex.join(["llmc", *command[1:]]) if command else ""
    first, others = load_run(dense), told_apart([load_run(run) for run in runs])
    check_names(file, [first, *others])
    refuse_itself(first, others)
    refuse_swapped(first, others)
    return compare(first, others, file, now=now, command=line)
