"""Continuations of many prompts: each prompt is read once, and rows that end give their place to the next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmc.evaluate.engine.answer_text import AnswerText, Generated, Growing, Job
from llmc.evaluate.engine.beginnings import Beginnings
from llmc.evaluate.engine.caches import repeated
from llmc.evaluate.engine.encoding import Encoder
from llmc.evaluate.engine.network import Network, most_likely, padded_left
from llmc.evaluate.engine.prefix_tree import Row
from llmc.evaluate.engine.prefixes import Group, plan, unshared
from llmc.evaluate.engine.running import Running, States
from llmc.evaluate.engine.sampling import draw, generator, skip

COHORT_TOKENS = 32_768
"""New tokens of the requests that share a running batch."""

STORE_S = 60.0
"""Seconds after which, within a cohort, what is finished is given and the tokens of what isn't are noted."""

COUNTED_TOKENS = (32, 128)
"""What a request counts at least and at most: 256 to 1,024 requests, as the last of a cohort leave rows empty."""

MAX_ROWS = 64
"""Rows of the running batch at most: with more, a step hardly does more a second, and the cache grows with them."""

TOKENS_A_ROW = 64
"""Tokens of a batch for which the running batch has a row, if its rows are short."""

HELD_TOKENS = 16
"""Tokens that the running batch may hold in its cache, over the tokens of a batch."""


class _Ready(NamedTuple):
    """A prompt that has been read."""

    states: States
    logits: Tensor
    users: deque[int]


class _Unit(NamedTuple):
    """Prompts that are read in one batch."""

    group: Group
    batch: tuple[tuple[int, int], ...]


Begun = Mapping[int, Sequence[int]]
"""Jobs by index, with the tokens that they have so far."""


class Writer:
    """Continues prompts with one model; holds what doesn't change from prompt to prompt."""

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, network: Network, encoder: Encoder, batch_tokens: int) -> None:
        self.network, self.encoder, self.batch_tokens = network, encoder, batch_tokens
        self.most_rows = max(1, min(MAX_ROWS, batch_tokens // TOKENS_A_ROW))
        self.text = AnswerText(encoder, getattr(network.model, "generation_config", None))
        self._tick: Callable[[int], None] = lambda n: None
        self._keep: Callable[[Begun], None] = lambda under_way: None
        self._begun: Begun = {}
        self._given = 0.0

    def write(
        self,
        jobs: Sequence[Job],
        *,
        known: AbstractSet[int] = frozenset(),
        begun: Begun | None = None,
        tick: Callable[[int], None] = lambda n: None,
        keep: Callable[[Begun], None] = lambda under_way: None,
    ) -> Iterator[list[tuple[int, Generated]]]:
        """Continuations of the jobs that aren't `known`, as (index, continuation), once a cohort and every `STORE_S`.

        Cohorts depend on all jobs. Jobs that an earlier run has `begun` go on from their tokens. `tick` hears of every
        job that ends; `keep` gets the tokens of those under way, every `STORE_S`.
        """
        self._tick, self._keep, self._begun = tick, keep, begun or {}
        asked: dict[tuple[int, ...], list[int]] = {}
        for index, job in enumerate(jobs):
            asked.setdefault(job.prompt, []).append(index)
        prompts, users = list(asked), list(asked.values())
        for cohort in self._cohorts(prompts, users, jobs):
            wanted = [index for unit in cohort for index in _users(unit, users)]
            missing = [index for index in wanted if index not in known]
            tick(len(wanted) - len(missing))
            if missing:
                left = [[index for index in each if index not in known] for each in users]
                yield from self._run(cohort, prompts, left, jobs, self._n_rows(jobs[index] for index in wanted))

    def _cohorts(
        self, prompts: Sequence[tuple[int, ...]], users: Sequence[list[int]], jobs: Sequence[Job]
    ) -> Iterator[list[_Unit]]:
        rows = [Row(prompt, 1) for prompt in prompts]
        groups = plan if self.network.why_not_shared is None else unshared
        cohort: list[_Unit] = []
        n_tokens = 0
        least, most = COUNTED_TOKENS
        for group in groups(rows, self.batch_tokens):
            for batch in group.batches:
                for part in self._fitting(group, batch, prompts):
                    cohort.append(_Unit(group, part))
                    wanted = (jobs[index].max_new_tokens for index in _users(cohort[-1], users))
                    n_tokens += sum(max(least, min(each, most)) for each in wanted)
                    if n_tokens >= COHORT_TOKENS:
                        yield cohort
                        cohort, n_tokens = [], 0
        if cohort:
            yield cohort

    def _fitting(
        self, group: Group, batch: tuple[tuple[int, int], ...], prompts: Sequence[tuple[int, ...]]
    ) -> Iterator[tuple[tuple[int, int], ...]]:
        """The batch in parts: what has been read waits in memory until rows are free, so no more than half of them.

        And a sliding window can't have padding between a prefix and what follows.
        """
        at_once = max(1, self.most_rows // 2)
        by_length: dict[int, list[tuple[int, int]]] = {}
        for member in batch:
            length = len(prompts[member[0]]) if self.network.slides and group.prefix_length else 0
            by_length.setdefault(length, []).append(member)
        for alike in by_length.values():
            for first in range(0, len(alike), at_once):
                yield tuple(alike[first : first + at_once])

    def _run(
        self,
        cohort: Sequence[_Unit],
        prompts: Sequence[tuple[int, ...]],
        users: Sequence[list[int]],
        jobs: Sequence[Job],
        n_rows: int,
    ) -> Iterator[list[tuple[int, Generated]]]:
        self._given = self.clock()
        if not self.network.caches:
            yield from self._recompute([index for unit in cohort for index in _users(unit, users)], jobs, n_rows)
            return
        done: list[tuple[int, Generated]] = []
        reading = chain(self._read_on(cohort, users, jobs), self._read(cohort, prompts, users))
        ready: deque[tuple[_Ready, Any]] = deque()
        running = Running(self.network, n_rows)
        growing: dict[int, Growing] = {}
        more = True
        while True:
            free = running.free()
            # A quarter of the places is worth a refill: reading prompts one by one would waste the batch.
            if more or ready:
                while more and sum(len(item.users) for item, _ in ready) < len(free) >= running.n_rows // 4:
                    batch = next(reading, None)
                    more = batch is not None
                    ready.extend(batch or ())
                while ready and free:
                    item, like = ready[0]
                    new = self._start(item.users.popleft(), jobs)
                    if self._grow(new, item.logits):
                        done.append((new.index, self._finish(new)))
                    else:
                        running.place(row := free.pop(), item.states, new.tokens[-1], like)
                        growing[row] = new
                    if not item.users:
                        ready.popleft()
            if not growing:
                if more or ready:
                    continue
                break
            if not more and not ready and len(growing) <= running.n_rows // 2:
                rows = sorted(growing)
                running.keep(rows)
                growing = {i: growing[row] for i, row in enumerate(rows)}
            logits = running.step()
            best = most_likely(logits).tolist()
            for row, each in list(growing.items()):
                if self._grow(each, logits[row], best[row]):
                    done.append((each.index, self._finish(each)))
                    running.end(row)
                    del growing[row]
                else:
                    running.token[row] = each.tokens[-1]
            yield from self._now_and_then(done, growing.values())
        yield done

    def _now_and_then(
        self, done: list[tuple[int, Generated]], growing: Iterable[Growing]
    ) -> Iterator[list[tuple[int, Generated]]]:
        """Gives and empties what is `done` and notes what is under way, when that was last done long ago."""
        if self.clock() - self._given < STORE_S:
            return
        if done:
            yield list(done)
            done.clear()
        self._keep({each.index: list(each.tokens) for each in growing})
        self._given = self.clock()

    def _read_on(
        self, cohort: Sequence[_Unit], users: Sequence[list[int]], jobs: Sequence[Job]
    ) -> Iterator[list[tuple[_Ready, Any]]]:
        """The prompts of jobs that have begun, each with its tokens so far, one by one."""
        for index in (index for unit in cohort for index in _users(unit, users) if index in self._begun):
            tokens = torch.tensor([[*jobs[index].prompt, *self._begun[index]]])
            cache, logits = self.network.open(tokens, None)
            n_tokens = tokens.shape[1]
            yield [(_Ready(_states(cache, 0, n_tokens, 0), logits[0], deque([index])), cache)]

    def _read(
        self, cohort: Sequence[_Unit], prompts: Sequence[tuple[int, ...]], users: Sequence[list[int]]
    ) -> Iterator[list[tuple[_Ready, Any]]]:
        """Every unit's prompts that have jobs to begin, with their states and next logits."""
        past, read = None, None
        beginnings = Beginnings(self.network)
        fresh = [[index for index in each if index not in self._begun] for each in users]
        for group, whole_batch in cohort:
            batch = [(row, prefix) for row, prefix in whole_batch if fresh[row]]
            if not batch:
                continue
            if group is not read:
                past = beginnings.of(group)
                read = group
            n_shared = group.prefix_length
            tokens, mask = padded_left([prompts[row][n_shared:] for row, _ in batch])
            whole = torch.cat([mask.new_ones(len(batch), n_shared), mask], 1).to(self.network.device)
            how: dict[str, Any] = {"attention_mask": whole}
            if self.network.takes_positions:
                how["position_ids"] = (whole.cumsum(-1) - 1).clamp_min(0)[:, n_shared:]
            picked = torch.tensor([prefix for _, prefix in batch], device=self.network.device)
            cache, logits = self.network.open(tokens, None if past is None else repeated(past, picked), **how)
            yield [
                (_Ready(_states(cache, i, len(prompts[row]), n_shared), logits[i], deque(fresh[row])), cache)
                for i, (row, _) in enumerate(batch)
            ]

    def _recompute(
        self, waiting: Sequence[int], jobs: Sequence[Job], n_rows: int
    ) -> Iterator[list[tuple[int, Generated]]]:
        """The same without any cache, for models whose memory can't be cut into tokens: slow and safe."""
        done: list[tuple[int, Generated]] = []
        if self.network.alone:
            n_rows = 1
        for first in range(0, len(waiting), n_rows):
            growing = [self._start(index, jobs) for index in waiting[first : first + n_rows]]
            while growing:
                logits = self.network.read([(*g.job.prompt, *g.tokens) for g in growing], [1] * len(growing))
                ended = [self._grow(each, logits[i]) for i, each in enumerate(growing)]
                done += [(g.index, self._finish(g)) for g, over in zip(growing, ended, strict=True) if over]
                growing = [g for g, over in zip(growing, ended, strict=True) if not over]
                yield from self._now_and_then(done, growing)
        yield done

    def _n_rows(self, jobs: Iterable[Job]) -> int:
        """Rows for these jobs: fewer where they are long."""
        longest = max(len(job.prompt) + job.max_new_tokens + (job.thought_tokens if job.closing else 0) for job in jobs)
        return max(1, min(self.most_rows, HELD_TOKENS * self.batch_tokens // longest))

    def _start(self, index: int, jobs: Sequence[Job]) -> Growing:
        job, begun = jobs[index], self._begun.get(index, ())
        random = generator(job.prompt, job.seed, job.sample) if job.temperature > 0 else None
        if random is not None:
            skip(random, len(begun))
        each = Growing(index, job, random, closing=job.closing, may_think=job.closing is None)
        for token in begun:  # one by one: a thought may begin or end among them
            self.text.add(each, token)
        return each

    def _grow(self, each: Growing, logits: Tensor, best: int | None = None) -> bool:
        """Append the next token; True when the sequence is over."""
        job = each.job
        if each.random is not None:
            token = draw(logits, job.temperature, job.top_p, each.random)
        else:
            token = int(logits.argmax()) if best is None else best
        return self.text.add(each, token)

    def _finish(self, each: Growing) -> Generated:
        self._tick(1)
        return self.text.finished(each)


def _users(unit: _Unit, users: Sequence[list[int]]) -> list[int]:
    """The jobs whose prompts are read in `unit`."""
    return [index for row, _ in unit.batch for index in users[row]]


def _states(cache: Any, row: int, n_tokens: int, n_shared: int) -> States:
    """The states of a left-padded row of `cache`, padding cut out."""
    layers = []
    for layer in cache.layers:
        kept = layer.keys.shape[-2]
        n_padding = layer.get_seq_length() - n_tokens
        if n_padding and n_shared:  # never in a layer that slides: `_fitting` leaves no padding there
            index = torch.cat([torch.arange(n_shared), torch.arange(n_shared + n_padding, kept)])
            index = index.to(layer.keys.device)
            layers.append((layer.keys[row].index_select(1, index), layer.values[row].index_select(1, index)))
        else:
            n = min(n_tokens, kept)
            layers.append((layer.keys[row, :, kept - n :], layer.values[row, :, kept - n :]))
    return States(tuple(layers), n_tokens)
