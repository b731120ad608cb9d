"""What a check of a folder has found: one entry a thing that was looked at."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    """Such as "files" or "samples/kick/mmlu.jsonl"."""
    right: bool
    said: str
    """What was found, in a few words."""


def within(folder: str, findings: list[Finding]) -> list[Finding]:
    """The findings of a folder inside another one."""
    return [each._replace(what=f"{folder}: {each.what}") for each in findings]
