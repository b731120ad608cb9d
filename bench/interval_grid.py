"""How often a loss of exactly the tolerance is called kept, and how often no change is: the interval, over a grid.

PYTHONPATH=. python bench/interval_grid.py size [--screen 500] [--draws 4000] [--items 50,100,200,500,1000]
                                              [--clusters 1,2,5,10,30]
PYTHONPATH=. python bench/interval_grid.py power
PYTHONPATH=. python bench/interval_grid.py hidden
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from llmc.evaluate.stats.unseen import below_zero

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Draw = Callable[[np.random.Generator, int], Floats]
SIZES, CORRELATIONS = (1, 2, 5, 10, 30), (0.0, 0.1, 0.3, 0.6, 1.0)
MARGINS = (0.01, 0.02, 0.03, 0.05, 0.10)
MIN_CLUSTERS = 10
KEEP_WORST = 3


class Pattern(NamedTuple):
    """How one item's mark changes: values and their chances."""

    name: str
    values: tuple[float, ...]
    chances: tuple[float, ...]
    binary: bool


def patterns(loss: float) -> Iterator[Pattern]:
    """Changes whose mean is -`loss`: few large to many small ones, with and without gains beside them."""
    for gained in (0.0, loss, 0.05):
        yield Pattern(f"lost and {gained:g} gained", (-1, 0, 1), (loss + gained, 1 - loss - 2 * gained, gained), True)
    for size in (0.05, 0.1, 0.3, 0.6, 1.0):
        if loss <= 0.9 * size:
            yield Pattern(f"few lose {size:g}", (-size, 0), (loss / size, 1 - loss / size), False)
    for size, gain in ((0.3, 0.01), (1, 0.01), (1, 0.05), (0.5, 0.1)):
        share = (loss + gain) / (size + gain)
        yield Pattern(f"few lose {size:g}, all others gain {gain:g}", (-size, gain), (share, 1 - share), False)
    for size, noise in ((1, 0.05), (1, 0.2), (0.3, 0.05)):
        half = (1 - loss / size) / 2
        yield Pattern(f"few lose {size:g}, noise {noise:g}", (-size, -noise, noise), (loss / size, half, half), False)


def copied(pattern: Pattern, n_clusters: int, size: int, correlation: float) -> Draw:
    """Items that take their cluster's change, each with the chance that makes the correlation this."""

    def draw(random: np.random.Generator, draws: int) -> Floats:
        values, chances = np.asarray(pattern.values, dtype=float), pattern.chances
        own: Floats = random.choice(values, p=chances, size=(draws, n_clusters, size))
        if size == 1 or correlation == 0:
            return own
        shared = random.choice(values, p=chances, size=(draws, n_clusters, 1))
        return np.where(random.random(own.shape) < np.sqrt(correlation), shared, own)

    return draw


def rates(pattern: Pattern, n_clusters: int, size: int, correlation: float) -> Draw:
    """Clusters with chances of their own (Dirichlet), spread so that the correlation of two of its items is this."""

    def draw(random: np.random.Generator, draws: int) -> Floats:
        shapes = np.maximum(np.asarray(pattern.chances) * (1 - correlation) / correlation, 1e-9)
        weights = random.standard_gamma(shapes, size=(draws, n_clusters, shapes.size)) + 1e-300
        ends = np.cumsum(weights / weights.sum(-1, keepdims=True), -1)[..., None, :-1]
        picked = (random.random((draws, n_clusters, size))[..., None] > ends).sum(-1)
        found: Floats = np.asarray(pattern.values, dtype=float)[picked]
        return found

    return draw


def hidden(loss: float, flips: float, n_clusters: int, size: int) -> Draw:
    """Single flips that cancel out, anywhere; and whole clusters that are lost."""

    def draw(random: np.random.Generator, draws: int) -> Floats:
        own = random.choice([-1.0, 0.0, 1.0], p=[flips / 2, 1 - flips, flips / 2], size=(draws, n_clusters, size))
        return np.where(random.random((draws, n_clusters, 1)) < loss, -1.0, own)

    return draw


def passes(change: Floats, margin: float, *, binary: bool, confidence: float = 0.95) -> tuple[Bools, Bools]:
    """Whether the lower edge is above -`margin`, without and with the room for the unseen. Shape: (draws, G, size).

    The same rule as `paired_difference`'s, over all draws at once; `tests/evaluate/stats/test_paired.py` compares the
    two.
    """
    draws, n_clusters, size = change.shape
    n, sums = n_clusters * size, change.sum(-1)
    value = sums.sum(-1) / n
    centred = sums - size * value[:, None]
    variance = n_clusters / (n_clusters - 1) * np.square(centred).sum(-1) / n**2
    alone = np.square(change - value[:, None, None]).sum((1, 2)) / (n * (n - 1))
    moved = alone > 1e-18
    deff = np.where(moved, variance / np.where(moved, alone, 1), 0.0)
    t = float(stats.t.ppf(0.5 + confidence / 2, n_clusters - 1))
    before = value - t * np.sqrt(variance) > -margin
    if binary:
        gained, lost = (change > 0).sum((1, 2)), (change < 0).sum((1, 2))
        before &= _tango(gained, lost, n, -margin) > stats.norm.ppf(0.5 + confidence / 2)
        divisor = np.where((deff > 1) & (size > 1), deff, 1.0)
        narrowed = _tango(gained / divisor, lost / divisor, n / divisor, -margin) > t
        before &= narrowed | (divisor == 1)
    else:
        none = np.zeros(draws)
        still = _tango(none, none, n_clusters, -margin - value) > stats.norm.ppf(0.5 + confidence / 2)
        before = np.where(moved, before, still)
    unseen = np.full((draws, 1), size * (margin - 1))
    values = np.concatenate([sums + margin * size, unseen], axis=1)
    return before, before & (below_zero(values) <= 1 - confidence)


def _tango(gained: Any, lost: Any, n: Any, theta: Any) -> Floats:
    """Tango's statistic over arrays."""
    linear = -gained - lost + (2 * n - gained + lost) * theta
    root = np.sqrt(np.maximum(linear**2 + 8 * n * lost * theta * (1 - theta), 0))
    variance = n * (2 * (root - linear) / (4 * n) + theta * (1 - theta))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((gained - lost - n * theta) / np.sqrt(variance))


def size_table(items: list[int], sizes: list[int], screen: int, draws: int) -> None:
    """The worst share over patterns, margins and kinds of correlation, drawn again for the `KEEP_WORST` worst ones."""
    random = np.random.default_rng(0)
    print("| items | a cluster | correlation | binary before | now | graded before | now | worst pattern now |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for n in items:
        for size in sizes:
            for correlation in CORRELATIONS if size > 1 else (0.0,):
                if n // size >= MIN_CLUSTERS:
                    print(_row(random, n, size, correlation, screen, draws), flush=True)


def _row(random: np.random.Generator, n: int, size: int, correlation: float, screen: int, draws: int) -> str:
    cells, name = [], ""
    for binary in (True, False):
        tried = []
        for margin in MARGINS:
            for pattern in patterns(margin):
                if pattern.binary != binary:
                    continue
                for model in (copied, rates) if 0 < correlation < 1 else (copied,):
                    draw = model(pattern, n // size, size, correlation)
                    found = [float(share.mean()) for share in passes(draw(random, screen), margin, binary=binary)]
                    tried.append((found, draw, margin, f"{pattern.name}, tolerance {100 * margin:g}"))
        worst = [0.0, 0.0]
        for rule in (0, 1):
            for _, draw, margin, said in sorted(tried, key=lambda one: -one[0][rule])[:KEEP_WORST]:
                share = _again(random, draw, margin, binary, draws)[rule]
                if share > worst[rule]:
                    worst[rule] = share
                    name = said if rule and not binary else name
        cells += [f"{100 * share:.1f} %" for share in worst]
    return f"| {n} | {size} | {correlation:g} | {' | '.join(cells)} | {name} |"


def _again(random: np.random.Generator, draw: Draw, margin: float, binary: bool, draws: int) -> list[float]:
    found = [passes(draw(random, part), margin, binary=binary) for part in [min(draws, 500)] * max(draws // 500, 1)]
    return [float(np.mean([each[rule] for each in found])) for rule in (0, 1)]


def power_table(draws: int) -> None:
    """The share of `kept` where nothing changed on average, at tolerances of 2, 3 and 5 points."""
    random = np.random.default_rng(1)
    print("| marks | items | a cluster | 2 points: before | now | 3 points: before | now | 5 points: before | now |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    kinds = (
        Pattern("binary, none flips", (0.0,), (1.0,), True),
        Pattern("binary, 5 % flip", (-1, 0, 1), (0.025, 0.95, 0.025), True),
        Pattern("binary, 10 % flip", (-1, 0, 1), (0.05, 0.9, 0.05), True),
        Pattern("graded, all move by 0.1", (-0.1, 0.1), (0.5, 0.5), False),
        Pattern("graded, all move by 0.2", (-0.2, 0.2), (0.5, 0.5), False),
    )
    for kind in kinds:
        for n, size in ((100, 1), (200, 1), (500, 1), (1000, 1), (2000, 1), (300, 2), (480, 4), (1539, 27)):
            draw = copied(kind, n // size, size, 0.0)
            cells = []
            for margin in (0.02, 0.03, 0.05):
                found = _again(random, draw, margin, kind.binary, draws)
                cells += [f"{100 * share:.0f} %" for share in found]
            print(f"| {kind.name} | {n} | {size} | {' | '.join(cells)} |", flush=True)


def hidden_table(draws: int) -> None:
    """Whole clusters lost behind single flips that cancel out, which say nothing of them."""
    random = np.random.default_rng(2)
    print("| clusters | items each | flips | tolerance | before | now |\n| --- | --- | --- | --- | --- | --- |")
    for n_clusters, size in ((30, 10), (57, 27), (100, 5), (150, 2), (300, 2)):
        for flips in (0.0, 0.05):
            for margin in (0.02, 0.05):
                found = _again(random, hidden(margin, flips, n_clusters, size), margin, True, draws)
                cells = " | ".join(f"{100 * share:.1f} %" for share in found)
                print(f"| {n_clusters} | {size} | {100 * flips:g} % | {100 * margin:g} | {cells} |", flush=True)


def main() -> None:
    """Prints one table in Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("table", choices=("size", "power", "hidden"))
    parser.add_argument("--items", default="50,100,200,500,1000")
    parser.add_argument("--clusters", default=",".join(map(str, SIZES)))
    parser.add_argument("--screen", type=int, default=500)
    parser.add_argument("--draws", type=int, default=4000)
    asked = parser.parse_args()
    if asked.table == "size":
        items, sizes = ([int(n) for n in text.split(",")] for text in (asked.items, asked.clusters))
        size_table(items, sizes, asked.screen, asked.draws)
    else:
        {"power": power_table, "hidden": hidden_table}[asked.table](asked.draws)


if __name__ == "__main__":
    main()
