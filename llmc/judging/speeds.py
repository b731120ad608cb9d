"""What a bench found of a compressed model beside the dense one, in the words of the report."""

from __future__ import annotations

import re

from llmc.evaluate.speed.turns import ratio_by_turn, spread
from llmc.judging.budgets import Bench, comparable_benches
from llmc.judging.comparison import Speeds, Spread, Timing
from llmc.judging.joined import Joined

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
    rows = [_timing(name, dense, other) for name in names if _named(name)]
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


def _timing(name: str, dense: Bench, other: Bench) -> Timing:
    words, unit = _named(name) or (name, "")
    left, right = dense.metrics[name], other.metrics[name]
    n = min(len(left), len(right))
    ratio = ratio_by_turn(right[:n], left[:n]) if n and min([*left, *right]) > 0 else None
    several = ratio if n > 1 else None
    return Timing(
        name=words, unit=unit, n=n, dense=_spread(left), compressed=_spread(right), ratio=ratio and ratio.median,
        ratio_low=several and several.least, ratio_high=several and several.most,
    )  # fmt: skip


def _spread(values: list[float]) -> Spread | None:
    return Spread(**spread(values)._asdict()) if values else None


def speed_ratio(joined: Joined) -> float | None:
    """New tokens a second over dense's, the median over turns; None where two benches don't have it."""
    benches = comparable_benches(joined)
    if isinstance(benches, str):
        return None
    dense, other = (bench.metrics.get("decode_tokens_per_s", []) for bench in benches)
    n = min(len(dense), len(other))
    return ratio_by_turn(other[:n], dense[:n]).median if n and min([*dense, *other]) > 0 else None
