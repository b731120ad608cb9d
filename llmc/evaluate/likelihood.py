"""Log-likelihoods of continuations: the least computation that gives them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import torch
from torch import Tensor

from llmc.evaluate.caches import frozen
from llmc.evaluate.network import Network
from llmc.evaluate.prefixes import Group, Row, plan

CHUNK = 512
"""Positions whose logits are held in float32 at a time."""


class Target(NamedTuple):
    """A continuation to score. An empty one asks for nothing but the most likely next token."""

    tokens: tuple[int, ...]
    """Context and continuation, shortened from the left to the window and one more."""
    n_scored: int
    """The last tokens that are the continuation; 0: only `next_token` is wanted."""

    def row(self) -> tuple[int, ...]:
        """What the model reads: all but the last scored token, whose successor nobody asks for."""
        return self.tokens[:-1] if self.n_scored else self.tokens


class Score(NamedTuple):
    """What the model makes of a target."""

    loglikelihood: float
    """Natural logarithm, summed over the scored tokens in double precision."""
    is_greedy: bool
    """Whether every scored token was the most likely one."""
    next_token: int
    """The most likely token at the last position read."""


def target(context: Sequence[int], continuation: Sequence[int], max_length: int) -> Target:
    """The target for a pair of token lists, shortened from the left as lm-eval does."""
    return Target((*context, *continuation)[-(max_length + 1) :], len(continuation))


def score(
    network: Network,
    targets: Sequence[Target],
    batch_tokens: int,
    *,
    known: AbstractSet[int] = frozenset(),
    tick: Callable[[int], None] = lambda n: None,
) -> Iterator[list[tuple[int, Score]]]:
    """Scores of all targets, batch by batch as they are computed, as (index, score).

    Batches depend on all targets, `known` or not; a batch whose targets are all known is passed over. So a second run
    makes exactly the batches that a first one didn't finish. `tick` hears of every batch how many targets it settles.
    """
    asked: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, each in enumerate(targets):
        asked[each.row()].append(index)
    rows = [Row(tokens, max(max(1, targets[i].n_scored) for i in users)) for tokens, users in asked.items()]
    users = list(asked.values())
    groups = plan(rows, batch_tokens) if network.why_not_shared is None else _plain(rows, batch_tokens)
    for group in groups:
        past = None
        for batch in group.batches:
            wanted = [index for row, _ in batch for index in users[row]]
            tick(len(wanted))
            if known >= set(wanted):
                continue
            if group.prefixes and past is None:
                past = network.prefill(torch.tensor(group.prefixes))
            n_read = [rows[row].n_read for row, _ in batch]
            logits = network.read(
                [rows[row].tokens[group.prefix_length :] for row, _ in batch],
                n_read,
                None if past is None else frozen(past, torch.tensor([p for _, p in batch], device=network.device)),
            )
            ends = torch.tensor(n_read).cumsum(0).tolist()
            pairs = [(index, end) for (row, _), end in zip(batch, ends, strict=True) for index in users[row]]
            yield list(zip([i for i, _ in pairs], _scores(logits, targets, pairs), strict=True))


def _plain(rows: Sequence[Row], batch_tokens: int) -> list[Group]:
    """Batches by length, with nothing shared."""
    return plan([Row(row.tokens, len(row.tokens)) for row in rows], batch_tokens)


def _scores(logits: Tensor, targets: Sequence[Target], pairs: Sequence[tuple[int, int]]) -> list[Score]:
    """Scores of the targets, each from the logits that end before row `end` of `logits` (reads, vocabulary)."""
    normaliser = torch.cat([part.float().logsumexp(-1) for part in torch.split(logits, CHUNK)])
    best = torch.cat([part.argmax(-1) for part in torch.split(logits, CHUNK)])
    where = [end - targets[i].n_scored + k for i, end in pairs for k in range(targets[i].n_scored)]
    what = [token for i, _ in pairs for token in targets[i].tokens[len(targets[i].tokens) - targets[i].n_scored :]]
    at = torch.tensor(where, dtype=torch.long, device=logits.device)
    tokens = torch.tensor(what, dtype=torch.long, device=logits.device)
    gains = (logits[at, tokens].float() - normaliser[at]).double().tolist()
    hits = (best[at] == tokens).tolist()
    last = best.tolist()
    scores, start = [], 0
    for i, end in pairs:
        stop = start + targets[i].n_scored
        scores.append(Score(sum(gains[start:stop]), all(hits[start:stop]), last[end - 1]))
        start = stop
    return scores
