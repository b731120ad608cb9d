"""Picks the part of long evidence that fits a budget: the passages nearest to the question by BM25."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from llmc.kick_bench.text import normalise

WORDS = 100
"""Words of a passage."""
K1 = 1.5
B = 0.75


def bm25(question: str, passages: Sequence[str]) -> list[float]:
    """The relevance of each passage to the question.

    Source: Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework", eq. 3.15, with idf ln(1 + (N - n + .5) /
    (n + .5)).
    """
    words = [normalise(passage).split() for passage in passages]
    counts = [Counter(each) for each in words]
    mean_length = sum(map(len, words)) / max(1, len(words)) or 1.0
    scores = [0.0] * len(passages)
    for term in set(normalise(question).split()):
        n_with = sum(term in count for count in counts)
        idf = math.log(1 + (len(passages) - n_with + 0.5) / (n_with + 0.5))
        for i, count in enumerate(counts):
            norm = K1 * (1 - B + B * len(words[i]) / mean_length)
            scores[i] += idf * count[term] * (K1 + 1) / (count[term] + norm)
    return scores


def evidence(question: str, text: str, budget_tokens: int, count: Callable[[str], int]) -> str:
    """The whole text where it fits; else its best passages up to the budget, in their own order.

    Knows nothing of the answer, so that the evidence isn't chosen by it.
    """
    if count(text) <= budget_tokens:
        return text
    words = text.split()
    passages = [" ".join(words[i : i + WORDS]) for i in range(0, len(words), WORDS)]
    scores = bm25(question, passages)
    kept: list[int] = []
    left = budget_tokens
    for i in sorted(range(len(passages)), key=lambda i: (-scores[i], i)):
        cost = count(passages[i])
        if cost <= left:
            kept.append(i)
            left -= cost
    return "\n".join(passages[i] for i in sorted(kept))
