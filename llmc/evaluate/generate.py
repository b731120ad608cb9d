"""Continuations of many prompts: each prompt is read once, and rows that end give their place to the next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llmc.evaluate.beginnings import Beginnings
from llmc.evaluate.caches import repeated
from llmc.evaluate.encoding import Encoder
from llmc.evaluate.endings import cut, end_texts, end_tokens, first_stop
from llmc.evaluate.network import Network, most_likely, padded_left
from llmc.evaluate.prefix_tree import Row
from llmc.evaluate.prefixes import Group, plan, unshared
from llmc.evaluate.running import Running, States
from llmc.evaluate.sampling import draw, generator, skip
from llmc.evaluate.thoughts import may_open, open_at_start

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

LONGEST_MARK = 24
"""Tokens in which a mark that opens or closes a thought is looked for."""

HELD_TOKENS = 16
"""Tokens that the running batch may hold in its cache, over the tokens of a batch."""


class Job(NamedTuple):
    """A prompt to continue."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    until: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    sample: int = 0
    at_once: bool = False
    """Stop strings count from the first token, white space included: lm-eval's rule."""
    thought_tokens: int = 0
    """Tokens that a thought before the answer may have, beside `max_new_tokens`."""
    closing: str | None = None
    """The mark that closes the thought which the prompt opens."""


class Generated(NamedTuple):
    """What a job gave."""

    text: str
    n_tokens: int
    """A thought's and an end token among them."""
    truncated: bool
    """It ended only because its tokens were used up."""


@dataclass
class _Growing:
    """A job under way."""

    index: int
    job: Job
    random: torch.Generator | None
    tokens: list[int] = field(default_factory=list)
    closing: str | None = None
    """The mark that the thought under way ends with; None: there is none."""
    may_think: bool = True
    """What is written so far could be the beginning of a thought."""
    start: int = 0
    """Where in `tokens` the answer begins."""
    rest: str = ""
    """What of the answer stands in the token that closed the thought."""

    held: bool = False
    """What is written is a part of a mark that may open a thought: only the next tokens tell."""

    def full(self) -> bool:
        """Whether no token is left, of the thought's where one is under way, else of the answer's."""
        room = self.job.max_new_tokens if self.closing is None else self.job.thought_tokens
        if self.held:
            room = max(room, min(LONGEST_MARK, self.job.thought_tokens))
        return len(self.tokens) - self.start >= room


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
        self.ends = end_tokens(encoder.tokenizer, getattr(network.model, "generation_config", None))
        self._tick: Callable[[int], None] = lambda n: None
        self._keep: Callable[[Begun], None] = lambda under_way: None
        self._begun: Begun = {}
        self._given = 0.0
        self.end_texts = end_texts(encoder.tokenizer, self.ends)

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
        growing: dict[int, _Growing] = {}
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
        self, done: list[tuple[int, Generated]], growing: Iterable[_Growing]
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

    def _start(self, index: int, jobs: Sequence[Job]) -> _Growing:
        job, begun = jobs[index], self._begun.get(index, ())
        random = generator(job.prompt, job.seed, job.sample) if job.temperature > 0 else None
        if random is not None:
            skip(random, len(begun))
        each = _Growing(index, job, random, closing=job.closing, may_think=job.closing is None)
        for token in begun:  # one by one: a thought may begin or end among them
            self._added(each, token)
        return each

    def _grow(self, each: _Growing, logits: Tensor, best: int | None = None) -> bool:
        """Append the next token; True when the sequence is over."""
        job = each.job
        if each.random is not None:
            token = draw(logits, job.temperature, job.top_p, each.random)
        else:
            token = int(logits.argmax()) if best is None else best
        return self._added(each, token)

    def _added(self, each: _Growing, token: int) -> bool:
        each.tokens.append(token)
        if token in self.ends:
            return True
        if each.may_think:
            self._look_for_thought(each)
        if each.closing is not None:
            self._look_for_end_of_thought(each, each.closing)
        return each.full() or (each.closing is None and self._stopped(each))

    def _look_for_thought(self, each: _Growing) -> None:
        said = self.encoder.decode(each.tokens, special=True)
        each.closing = open_at_start(said)
        each.may_think = each.closing is None and may_open(said) and len(each.tokens) < LONGEST_MARK
        each.held = each.may_think and not said.isspace()

    def _look_for_end_of_thought(self, each: _Growing, closing: str) -> None:
        if closing in self.encoder.decode(each.tokens[-LONGEST_MARK:], special=True):
            each.rest = self.encoder.decode(each.tokens, special=True).partition(closing)[2]
            each.closing, each.start = None, len(each.tokens)

    def _stopped(self, each: _Growing) -> bool:
        """Whether a stop string is in the text; one of n bytes is spread over n tokens at most, so few are decoded."""
        if not each.job.until:
            return False
        reach = max(len(stop.encode()) for stop in each.job.until) + 2
        tail = each.rest + self.encoder.decode(each.tokens[each.start :][-reach:], special=True)
        if not any(stop and stop in tail for stop in each.job.until):
            return False
        return first_stop(self._text(each), each.job.until, at_once=each.job.at_once) is not None

    def _text(self, each: _Growing) -> str:
        """What is written so far behind any thought, without special tokens and without the token that ended it."""
        tokens = each.tokens[each.start :][: each.job.max_new_tokens]
        return each.rest + self.encoder.decode(tokens[:-1] if tokens and tokens[-1] in self.ends else tokens)

    def _finish(self, each: _Growing) -> Generated:
        self._tick(1)
        return self._finished(each)

    def _finished(self, each: _Growing) -> Generated:
        """The answer, cut before a stop string and before an end token that is spelled; none inside a thought."""
        ended, full = each.tokens[-1] in self.ends, each.full()
        if each.closing is not None:
            return Generated("", len(each.tokens), full and not ended)
        text = self._text(each)
        kept = cut(cut(text, self.end_texts), each.job.until, at_once=each.job.at_once)
        n_tokens = min(len(each.tokens), each.start + each.job.max_new_tokens)  # no more for a mark that was none
        ended = ended and n_tokens == len(each.tokens)
        return Generated(kept, n_tokens, full and not ended and len(kept) == len(text))

    def finish(self, token: int, job: Job) -> Generated | None:
        """The answer of one token; None where that token begins a thought, behind which the answer is to be written."""
        each = _Growing(0, job, None)
        self._added(each, token)
        return None if each.closing is not None or each.held else self._finished(each)


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
