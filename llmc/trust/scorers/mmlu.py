"""Benign MMLU beside the dimensions: the first generated character is the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

KEYS = ("A", "B", "C", "D")


class Benign(NamedTuple):
    """Shares in [0, 1] over all questions."""

    acc: float
    refused: float
    """First character is none of the four keys."""


def parse(text: str) -> str | None:
    """The key that the answer starts with, or None."""
    first = text[:1].upper()
    return first if first in KEYS else None


def score(texts: Sequence[str], keys: Sequence[str]) -> Benign:
    """Accuracy over all questions together, subjects of any size."""
    parsed = [parse(text) for text in texts]
    hits = sum(got == key for got, key in zip(parsed, keys, strict=True))
    return Benign(hits / len(keys), parsed.count(None) / len(keys))
