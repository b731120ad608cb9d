"""Perplexity over non-overlapping windows of one text, as GPTQ's authors measure it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood of the predicted tokens; None when nothing was predicted."""

    value: float | None
    loss_nats: float | None
    n_tokens: int
    """Tokens that were predicted: one less than its length for each window."""


@torch.no_grad()
def window_perplexity(model: Any, tokens: Tensor, window: int, *, batch_tokens: int = 4096) -> Perplexity:
    """The perplexity of `model` on `tokens` (n,) cut into windows; what does not fill the last window is left out.

    Log-probabilities are taken in float32 whatever the model's dtype.
    """
    n_windows = len(tokens) // window
    if n_windows == 0:
        return Perplexity(None, None, 0)
    windows = tokens[: n_windows * window].view(n_windows, window)
    total, count = 0.0, 0
    size = max(1, batch_tokens // window)
    for start in range(0, n_windows, size):
        ids = windows[start : start + size].to(model.device)
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        for row, target in zip(logits, ids[:, 1:], strict=True):
            total += float(torch.nn.functional.cross_entropy(row.float(), target, reduction="sum").double())
        count += ids[:, 1:].numel()
    loss = total / count
    return Perplexity(math.exp(loss) if loss < 700 else None, loss, count)
