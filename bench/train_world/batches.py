"""Packs lessons into rows; the batch of a step is a function of the seed and the step, so that training can resume."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from recipe import Recipe
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from llmc.data.world.lessons import ANSWER, Lesson, Letter, draw

Encoded = tuple[list[int], list[float], list[int]]
"""Token ids, the weights of their losses, and what should be known there halfway up already (-1: nothing)."""


class Batch(NamedTuple):
    """Token ids, loss weights and ids known halfway, each (rows, tokens + 1)."""

    ids: Tensor
    weights: Tensor
    known: Tensor


def encoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[Lesson], Encoded]:
    """A function from a lesson to its token ids, with the end token behind them, and what is wanted of each."""
    end = tokenizer.eos_token_id
    backend = tokenizer.backend_tokenizer

    def encode(lesson: Lesson) -> Encoded:
        ids: list[int] = []
        weights: list[float] = []
        known: list[int] = []
        for encoding, (text, weight) in zip(
            backend.encode_batch_fast([text for text, _ in lesson], add_special_tokens=False), lesson, strict=True
        ):
            ids += encoding.ids
            weights += [weight] * len(encoding.ids)
            if isinstance(text, Letter):
                known.append(backend.encode(f" {text.option}", add_special_tokens=False).ids[0])
            else:
                known += encoding.ids if weight == ANSWER else [-1] * len(encoding.ids)
        return [*ids, end], [*weights, 0.05], [*known, -1]

    return encode


def fill(lessons: list[Encoded], length: int, more: Callable[[], Encoded], end: int, *, pool: int = 24) -> Encoded:
    """One row of whole lessons, taken out of `lessons`, which is refilled; the rest is padding of weight 0."""
    ids: list[int] = []
    weights: list[float] = []
    known: list[int] = []
    while True:
        while len(lessons) < pool:
            lessons.append(more())
        space = length - len(ids)
        index = next((i for i, lesson in enumerate(lessons) if len(lesson[0]) <= space), None)
        if index is None:
            return ids + [end] * space, weights + [0.0] * space, known + [-1] * space
        tokens, token_weights, token_known = lessons.pop(index)
        ids += tokens
        weights += token_weights
        known += token_known


def batch(recipe: Recipe, encode: Callable[[Lesson], Encoded], end: int, step: int, rank: int) -> Batch:
    """What a process trains on at a step; some steps have longer rows."""
    rng = random.Random(f"{recipe.seed}/{step}/{rank}")
    progress = step / recipe.steps
    shares = recipe.shares(step)
    longer = 4 if step % 16 == 15 else 2 if step % 8 == 7 else 1
    rows, length = recipe.rows // longer, recipe.row_tokens * longer
    waiting: list[Encoded] = []
    filled: Sequence[Encoded] = [
        fill(waiting, length, lambda: encode(draw(shares, rng, progress)), end) for _ in range(rows)
    ]
    # Position 0 is the end token in half of the rows: prompts come with and without it.
    ids = torch.tensor([([end, *i] if row % 2 else [*i, end]) for row, (i, _, _) in enumerate(filled)])
    weights = torch.tensor([([0.0, *w] if row % 2 else [*w, 0.0]) for row, (_, w, _) in enumerate(filled)])
    known = torch.tensor([([-1, *k] if row % 2 else [*k, -1]) for row, (_, _, k) in enumerate(filled)])
    return Batch(ids, thinned(weights, rng.randrange(2**31)), known)


def thinned(weights: Tensor, seed: int, *, keep: float = 0.2, light: float = 0.05) -> Tensor:
    """The weights with most light ones gone and the rest of them heavier, so that each keeps its mean.

    Only tokens with a weight need the output layer, which is a quarter of the work otherwise.
    """
    drawn = torch.rand(weights.shape, generator=torch.Generator().manual_seed(seed)) < keep
    return torch.where(weights > light, weights, weights * drawn / keep)
