"""What a bench found of a compressed model beside the dense one, in the words of the report."""

from __future__ import annotations

import re
import statistics

from llmc.report.budgets import Bench, comparable_benches, ratio_interval
from llmc.report.comparison import Speeds, Spread, Timing
from llmc.report.joined import Joined

_NAMED = {
    "resident_bytes": ("in memory", "bytes"),
    "process_bytes": ("the process that holds it", "bytes"),
    "load_s": ("load", "s"),
}
_BY_BATCH = {
    "prefill_tokens_per_s": ("prompt", "tokens/s"),
    "decode_tokens_per_s": ("new tokens", "tokens/s"),
    "decode_joules_per_token": ("energy", "J a new token"),
}


def speeds(joined: Joined) -> Speeds | None:
    """Every metric that both benches have; None where there are no two that can be compared."""
    benches = comparable_benches(joined)
    if isinstance(benches, str):
        return None
    dense, other = benches
    names = sorted((name for name in dense.metrics if name in other.metrics), key=_place)
    rows = [_timing(name, dense, other, joined.policy.stats.confidence) for name in names if _named(name)]
    return Speeds(machine=dense.machine, kernels=other.kernels, dtype=other.dtype, timings=rows)


def _named(name: str) -> tuple[str, str] | None:
    """A metric in words and its unit; None for one that the report doesn't show."""
    if name in _NAMED:
        return _NAMED[name]
    by_batch = re.fullmatch(r"(\w+)_batch_(\d+)", name)
    if by_batch is None or by_batch[1] not in _BY_BATCH:
        return None
    words, unit = _BY_BATCH[by_batch[1]]
    return f"{words}, batch {by_batch[2]}", unit


def _place(name: str) -> tuple[int, int]:
    """Memory and loading first, then each rate by batch size."""
    if name in _NAMED:
        return list(_NAMED).index(name), 0
    metric, _, batch = name.partition("_batch_")
    place = list(_BY_BATCH).index(metric) if metric in _BY_BATCH else len(_BY_BATCH)
    return len(_NAMED) + place, int(batch) if batch.isdigit() else 0


def _timing(name: str, dense: Bench, other: Bench, confidence: float) -> Timing:
    words, unit = _named(name) or (name, "")
    left, right = dense.metrics[name], other.metrics[name]
    n = min(len(left), len(right))
    ratio = low = high = None
    if n and min([*left, *right]) > 0:
        ratio, low, high = ratio_interval(left[:n], right[:n], confidence)
    return Timing(
        name=words, unit=unit, n=n, dense=_spread(left), compressed=_spread(right), ratio=ratio,
        ratio_low=low if n > 1 else None, ratio_high=high if n > 1 else None,
    )  # fmt: skip


def _spread(values: list[float]) -> Spread | None:
    return Spread(median=statistics.median(values), least=min(values), most=max(values)) if values else None
