"""Choosing the next token: pure, and the same whatever else is in the batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import Tensor


def generator(prompt: Sequence[int], seed: int, sample: int) -> torch.Generator:
    """The random numbers of one sample of one prompt, which no other request shares."""
    digest = hashlib.sha256(json.dumps([seed, sample, list(prompt)]).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draw(logits: Tensor, temperature: float, top_p: float, random: torch.Generator) -> int:
    """A token from softmax(logits / temperature), cut to its smallest set of likeliest tokens with mass `top_p`.

    Shapes: logits (vocabulary,). One uniform number a token is used, so a sequence of draws can be continued. Without a
    cut nothing is sorted, which at a vocabulary of 100,000 would take longer than the model's step.
    Source: Holtzman et al. 2020, arXiv:1904.09751, section 3.1.
    """
    scaled = logits.double().cpu() / temperature
    u = torch.rand((), generator=random, dtype=torch.float64)
    if top_p >= 1:
        return _at(torch.softmax(scaled, -1).cumsum(-1), u)
    order = torch.sort(scaled, descending=True, stable=True)
    total = torch.softmax(order.values, -1).cumsum(-1)
    n_kept = int((total < top_p).sum()) + 1
    return int(order.indices[_at(total[:n_kept], u)])


def skip(random: torch.Generator, n_tokens: int) -> None:
    """Moves the numbers on to where they are after `n_tokens` draws."""
    for _ in range(n_tokens):
        torch.rand((), generator=random, dtype=torch.float64)


def _at(total: Tensor, u: Tensor) -> int:
    """The place where the running total passes the share `u` of its end."""
    return min(int(torch.searchsorted(total, u * total[-1], right=True)), len(total) - 1)
