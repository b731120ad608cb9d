"""Holm's step-down rule: which of several claims stand when all of them were tried."""

from __future__ import annotations

from collections.abc import Sequence


def holm_stands(p_values: Sequence[float | None], alpha: float) -> list[bool]:
    """Whether each claim stands with a chance of at most `alpha` that any of them is false.

    Smallest p first: the k-th of m stands while p <= alpha / (m - k + 1). A claim without a p-value (None) was tried
    too and does not stand. statsmodels' `multipletests` agrees (tested) but takes 80 ms a call.
    Source: Holm 1979.
    """
    filled = [1.0 if p is None else p for p in p_values]
    stands = [False] * len(filled)
    for rank, i in enumerate(sorted(range(len(filled)), key=filled.__getitem__)):
        if filled[i] > alpha / (len(filled) - rank):
            break
        stands[i] = True
    return stands
