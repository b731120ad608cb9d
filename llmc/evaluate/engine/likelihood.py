"""Log-likelihoods of continuations: the least computation that gives them all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import torch
from torch import Tensor

from llmc.evaluate.engine.beginnings import Beginnings
from llmc.evaluate.engine.caches import frozen
from llmc.evaluate.engine.network import Network, most_likely
from llmc.evaluate.engine.prefix_tree import Row
from llmc.evaluate.engine.prefixes import plan, unshared

ROWS_AT_ONCE = 8
"""Positions whose logits are summed together: what is in between stays in the cache, for twice the speed."""


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
    groups = (
        plan(rows, batch_tokens)
        if network.why_not_shared is None
        else unshared(rows, 1 if network.alone else batch_tokens)
    )
    beginnings = Beginnings(network)
    for group in groups:
        past = None
        for batch in group.batches:
            wanted = [index for row, _ in batch for index in users[row]]
            tick(len(wanted))
            if known >= set(wanted):
                continue
            if past is None:
                past = beginnings.of(group)
            n_read = [rows[row].n_read for row, _ in batch]
            parts = network.read_parts(
                [rows[row].tokens[group.prefix_length :] for row, _ in batch],
                n_read,
                None if past is None else frozen(past, torch.tensor([p for _, p in batch], device=network.device)),
            )
            ends = torch.tensor(n_read).cumsum(0).tolist()
            pairs = [(index, end) for (row, _), end in zip(batch, ends, strict=True) for index in users[row]]
            yield list(zip([i for i, _ in pairs], _scores(parts, targets, pairs), strict=True))


def _scores(parts: Iterable[Tensor], targets: Sequence[Target], pairs: Sequence[tuple[int, int]]) -> list[Score]:
    """Scores of the targets, each from the logits that end before position `end` of `parts`, taken as one.

    Shapes: parts (reads, vocabulary), together all positions that are read.
    """
    at = [end - targets[i].n_scored + k for i, end in pairs for k in range(targets[i].n_scored)]
    scored = [token for i, _ in pairs for token in targets[i].tokens[len(targets[i].tokens) - targets[i].n_scored :]]
    where, what = torch.tensor(at, dtype=torch.long), torch.tensor(scored, dtype=torch.long)
    gains, hits = torch.zeros(len(where), dtype=torch.float64), torch.zeros(len(where), dtype=torch.bool)
    best: list[int] = []
    for part in parts:
        here = ((where >= len(best)) & (where < len(best) + len(part))).nonzero().flatten()
        rows = (where[here] - len(best)).to(part.device)
        tokens = what[here].to(part.device)
        likeliest = most_likely(part)
        normaliser = torch.cat([few.float().logsumexp(-1) for few in torch.split(part, ROWS_AT_ONCE)])
        gains[here] = (part[rows, tokens].float() - normaliser[rows]).double().cpu()
        hits[here] = likeliest[rows.cpu()] == what[here]
        best += likeliest.tolist()
    gained, hit = gains.tolist(), hits.tolist()
    scores, start = [], 0
    for i, end in pairs:
        stop = start + targets[i].n_scored
        scores.append(Score(sum(gained[start:stop]), all(hit[start:stop]), best[end - 1]))
        start = stop
    return scores
