"""Times on a GPU: each run after the cache was flushed, by events; and a graph that rotates over distinct weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

FLUSH_BYTES = 1 << 30  # takes long enough that the launches after it are queued by then


class Spread(NamedTuple):
    """Microseconds: the median and the 20th and 80th hundredth."""

    median: float
    p20: float
    p80: float


def _spread(times: Sequence[float]) -> Spread:
    ordered = sorted(times)
    at = lambda q: ordered[min(len(ordered) - 1, int(q * len(ordered)))]  # noqa: E731
    return Spread(at(0.5), at(0.2), at(0.8))


def cold(work: Callable[[], object], device: str, *, repeats: int = 15) -> Spread:
    """Each run alone, with nothing of it in the cache; launch included. On a CPU one run, to see that it runs."""
    if device == "cpu":
        start = time.perf_counter()
        work()
        return _spread([(time.perf_counter() - start) * 1e6])
    scratch = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device=device)
    for _ in range(3):
        work()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats)]
    for before, after in marks:
        scratch.zero_()
        before.record()
        work()
        after.record()
    torch.cuda.synchronize()
    return _spread([before.elapsed_time(after) * 1e3 for before, after in marks])


def rotated(works: Sequence[Callable[[], object]], device: str, *, repeats: int = 11) -> Spread:
    """A captured graph of all `works`, which must touch more than three times the cache together: time of one."""
    if device == "cpu":
        return cold(works[0], device)
    for work in works:
        work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for work in works:
            work()
    times = []
    for _ in range(repeats):
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        graph.replay()
        after.record()
        torch.cuda.synchronize()
        times.append(before.elapsed_time(after) * 1e3 / len(works))
    return _spread(times)
