"""The page's drawings: intervals on one axis, size against quality, flips, damage by block, divergence."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from llmc.evaluate.stats.units import RATIO, turned
from llmc.evaluate.stats.verdict import Code
from llmc.evaluate.stats.wording import CODE_OF, bare, number, said
from llmc.judging.comparison import Divergence, Matrix, Row, RunComparison
from llmc.report.svg import Axis, axis_over, drawing, element, line, mark, percent, rect, text, title

_ROW = 28
_HEAT_STEPS = 6
_FOOT = 20
"""Pixels for each run without a mean, below the scale of the others."""
_NAMED = 6
"""Up to so many runs have their names beside their points; more would overlap."""


def change_axis(rows: Sequence[Row]) -> Axis:
    """The common axis of rows' changes in points, ratios as percent of dense: it holds every interval and tolerance."""
    values: list[float] = []
    for row in rows:
        if row.change is not None and row.code != "collapsed":
            found = (row.change.low, row.change.high, row.change.value)
            values += [turned(v, row.unit) for v in found if v is not None]
        if row.tolerance is not None:
            values.append(_allowed(row.tolerance, row.unit))
    return axis_over(values)


def _allowed(tolerance: float, unit: str) -> float:
    """Where the tolerance's edge stands on the axis."""
    return turned(tolerance, unit) if unit == RATIO else -tolerance


def _word(row: Row) -> str:
    return row.word or "no rule asks"


def change_row(row: Row, axis: Axis) -> Markup:
    """One row's change: tolerance band, zero line, interval and mark."""
    middle = _ROW // 2
    parts = []
    if row.tolerance is not None:
        left, right = axis.at(_allowed(row.tolerance, row.unit)), axis.at(0.0)
        parts.append(rect(left, 2, right - left, _ROW - 4, "band"))
        parts.append(line(left, 2, left, _ROW - 2, "limit"))
    parts.append(line(axis.at(0.0), 0, axis.at(0.0), _ROW, "zero"))
    if row.code == "collapsed":
        parts.append(rect(axis.at(axis.low), 4, axis.at(axis.high) - axis.at(axis.low), _ROW - 8, "hatched"))
        return drawing(f"{row.name}: {_word(row)}", _ROW, *parts, class_="interval")
    if row.change is None:
        return drawing(f"{row.name}: {_word(row)}", _ROW, *parts, class_="interval")
    change = row.change
    shape = row.code if row.word is None or row.code == "gained" else CODE_OF[row.word]
    if change.low is not None and change.high is not None:
        edges = sorted(axis.at(turned(edge, row.unit)) for edge in (change.low, change.high))
        parts.append(line(edges[0], middle, edges[1], middle, f"whisker stroke-{shape}"))
        for edge in edges:
            parts.append(line(edge, middle - 5, edge, middle + 5, f"whisker stroke-{shape}"))
    parts.append(mark(axis.at(turned(change.value, row.unit)), middle, shape))
    return drawing(_change_words(row), _ROW, *parts, class_="interval")


def _change_words(row: Row) -> str:
    change = row.change
    assert change is not None
    words = f"{row.name}: {said(change.value, row.unit)}"
    if change.low is not None and change.high is not None:
        words += f", interval {bare(change.low, row.unit)} to {bare(change.high, row.unit)}"
    if row.tolerance is not None:
        limit = row.tolerance if row.unit == RATIO else -row.tolerance
        words += f", allowed {bare(limit, row.unit)}"
    return f"{words}, {_word(row)}"


def change_scale(axis: Axis) -> Markup:
    """The axis itself: ticks in points."""
    parts = []
    for tick in axis.ticks(6):
        x = axis.at(tick)
        parts += [line(x, 0, x, 5, "tick"), text(x, 18, number(tick, 0 if tick == int(tick) else 1), "label")]
    return drawing("axis: change in points", 22, *parts, class_="interval")


def size_chart(runs: Sequence[RunComparison], dense_label: str) -> Markup | None:
    """Bytes on disk against mean change, every run numbered, the Pareto front drawn; None without sizes."""
    sized = [(i, r) for i, r in enumerate(runs, 1) if r.size_ratio is not None]
    shown = [(i, r) for i, r in sized if r.score is not None]
    unscored = [(i, r) for i, r in sized if r.score is None]
    if not sized:
        return None
    sizes = Axis(0.0, max([1.05, *[(r.size_ratio or 0) * 1.05 for _, r in sized]]), 0.06)
    scores = [v for _, r in shown for v in (r.score, r.score_low, r.score_high) if v is not None]
    low, high = min([*scores, -1.0]), max([*scores, 1.0])
    top, bottom = 32.0, 250.0
    foot = bottom + _FOOT * len(unscored) + 6

    def y(score: float) -> float:
        return top + (bottom - top) * (high - score) / (high - low)

    parts = [text(0.0, 12, "mean change in points", "label", "start")]
    ticks = Axis(low, high).ticks(5)
    places = 0 if all(tick == int(tick) for tick in ticks) else 1
    for tick in ticks:
        said = number(tick, places)
        parts += [line(0.06, y(tick), 0.98, y(tick), "grid"), text(0.05, y(tick) + 4, said, "label", "end")]
    for share in sizes.ticks(5):
        parts += [line(sizes.at(share), foot, sizes.at(share), foot + 5, "tick")]
        parts += [text(sizes.at(share), foot + 19, f"{share:g}×", "label")]
    parts += [text(0.98, foot + 36, "size on disk, dense = 1×", "label", "end")]
    front = sorted((r for _, r in shown if r.on_front), key=lambda r: r.size_ratio or 0.0)
    for left, right in itertools.pairwise(front):
        a, b = sizes.at(left.size_ratio or 0.0), sizes.at(right.size_ratio or 0.0)
        parts += [line(a, y(left.score or 0.0), b, y(right.score or 0.0), "front")]
    parts += [mark(sizes.at(1.0), y(0.0), "not-compared"), text(sizes.at(1.0), y(0.0) - 9, dense_label, "label", "end")]
    for index, run in shown:
        parts += _point(_run_name(index, run, len(runs)), run, sizes.at(run.size_ratio or 0.0), y)
    for row, (index, run) in enumerate(unscored):
        # Without a mean it stands below the scale, where its size alone can be read.
        said = f"{_run_name(index, run, len(runs))}: {run.word}, no mean"
        x, at = sizes.at(run.size_ratio or 0.0), bottom + _FOOT * (row + 0.5) + 6
        parts += [mark(x, at, worst_code(run)), _beside(x, at, said)]
    return drawing("size on disk against mean change in points", int(foot) + 42, *parts)


def _run_name(index: int, run: RunComparison, n_runs: int) -> str:
    """A run's number in the table, with its name where there is room for names."""
    return f"{index} {run.facts.label[:32]}" if n_runs <= _NAMED else str(index)


def _beside(x: float, y: float, said: str) -> Markup:
    """Words next to a point, on the side that has room."""
    dx, anchor = (11, "start") if x < 0.6 else (-11, "end")
    return element("text", said, x=percent(x), dx=dx, y=y + 4, class_="number", text_anchor=anchor)


def _point(said: str, run: RunComparison, x: float, place: Callable[[float], float]) -> list[Markup]:
    code = worst_code(run)
    parts = []
    if run.score_low is not None and run.score_high is not None:
        low, high = place(run.score_low), place(run.score_high)
        parts.append(element("line", x1=percent(x), x2=percent(x), y1=low, y2=high, class_=f"whisker stroke-{code}"))
    at = place(run.score or 0.0)
    return [*parts, mark(x, at, code), _beside(x, at, said)]


def worst_code(run: RunComparison) -> Code:
    """The verdict whose shape stands for a run: that of its word in all."""
    return CODE_OF[run.word]


def flip_bar(flips: Mapping[str, int], noise: float | None) -> Markup:
    """Both right, lost, gained, other wrong answer, both wrong as one bar; a tick where dense alone would flip."""
    total = sum(flips.values()) or 1
    parts, x = [], 0.0
    for key in ("both_right", "lost", "gained", "other_wrong", "both_wrong"):
        share = flips[key] / total
        words = f"{key.replace('_', ' ')} {flips[key]:,}"
        parts.append(rect(x, 3, share, 16, f"flip-{key.replace('_', '-')}", title(words)))
        x += share
    label = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in flips.items())
    if noise is not None:
        at = min(flips["both_right"] / total + noise, 1.0)
        parts.append(line(at, 0, at, 22, "limit"))
        label += f", dense alone flips {100 * noise:.1f} %"
    return drawing(label, 22, *parts, class_="interval")


def heat_map(matrices: Sequence[Matrix]) -> Markup | None:
    """Relative output error by block (across) and kind (down), in six steps of its logarithm; None without errors."""
    known = [m for m in matrices if m.error is not None and m.error > 0]
    if not known:
        return None
    kinds = list(dict.fromkeys(m.kind for m in matrices))
    blocks = sorted({m.block for m in matrices})
    left, cell = 0.0, 20
    width = (1 - left) / len(blocks)
    edges = heat_edges(known)
    parts = []
    for m in matrices:
        x, y = left + width * blocks.index(m.block), 20.0 * kinds.index(m.kind)
        step = "none" if m.error is None else str(heat_step(m.error, edges))
        said = "not measured" if m.error is None else f"{m.error:.3g}"
        parts.append(
            rect(x, y, width * 0.96, cell - 2, f"heat heat-{step}", title(f"block {m.block} {m.kind}: {said}"))
        )
    height = cell * len(kinds) + 20
    marked = sorted({0, len(blocks) // 2, len(blocks) - 1})
    for index in marked:
        parts.append(text(left + width * (index + 0.5), height - 4, str(blocks[index]), "label"))
    return drawing("relative output error of each weight matrix, by block and kind", height, *parts)


def heat_edges(matrices: Sequence[Matrix]) -> list[float]:
    """The errors at which a colour ends and the next begins, from least to most."""
    errors = [m.error for m in matrices if m.error is not None and m.error > 0]
    low, high = math.log(min(errors)), math.log(max(errors))
    return [math.exp(low + (high - low) * k / _HEAT_STEPS) for k in range(1, _HEAT_STEPS)]


def heat_step(error: float, edges: Sequence[float]) -> int:
    """Which of the six colours an error has, 0 to 5."""
    return sum(error > edge for edge in edges)


def divergence_chart(found: Divergence) -> Markup:
    """The share of items at or below a divergence, over its logarithm, with median, 99 % and maximum marked."""
    floor = 1e-4
    high = math.log10(max(found.max, 10 * floor) * 1.1)
    axis = Axis(math.log10(floor), high, 0.04)

    def place(nats: float, share: float) -> tuple[float, float]:
        return axis.at(math.log10(max(nats, floor))), 8 + 100 * (1 - share)

    parts = []
    for exponent in range(-4, int(high) + 1):
        x = axis.at(float(exponent))
        parts += [line(x, 8, x, 112, "grid"), text(x, 126, f"{10.0**exponent:g}", "label")]
    points = [place(nats, share) for nats, share in found.cdf]
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        parts.append(line(x1, y1, x2, y2, "curve"))
    for value, share in ((found.median, 0.5), (found.p99, 0.99), (found.max, 1.0)):
        x, y = place(value, share)
        parts.append(mark(x, y, "kept"))
    said = f"median {found.median:.3g}, 99 % {found.p99:.3g}, maximum {found.max:.3g} nats"
    return drawing(f"share of items by divergence: {said}", 130, *parts)
