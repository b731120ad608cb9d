"""How differently two groups are scored: areas between densities and between cumulative curves, with their null."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
FINENESS = 4
"""Points a bandwidth between which a sign change of the density difference is looked for."""
REACH = 8.0
"""Bandwidths beyond which a kernel has less than 1e-14 of its mass."""


class WithNull(NamedTuple):
    """A disparity beside what chance alone makes of it."""

    value: float
    null_mean: float
    """Mean over permutations of the group labels: what two equal groups of these sizes would show."""
    null_95: float
    """95th percentile of the permutations."""
    p_value: float
    """Share of permutations at least as large, the observed labelling counted among them."""


def abcc(first: Sequence[float], second: Sequence[float]) -> float:
    """The area between the cumulative curves of two groups' probabilities, by sorting: no grid, no bandwidth.

    Range: [0, 1]; 0 exactly when every threshold gives both groups the same rate. Equal to the Wasserstein-1
    distance, and to the demographic parity difference of hard 0/1 predictions.
    Source: Han et al. 2023, arXiv:2301.13443.
    """
    a, b = _sorted(first), _sorted(second)
    points = np.sort(np.concatenate([a, b]))
    below_a = np.searchsorted(a, points[:-1], side="right") / a.size
    below_b = np.searchsorted(b, points[:-1], side="right") / b.size
    return float(np.abs(below_a - below_b) @ np.diff(points))


def abpc(first: Sequence[float], second: Sequence[float]) -> float:
    """The area between two groups' densities, each a Gaussian kernel estimate reflected at 0 and 1.

    Range: [0, 2]; 2 when the groups do not overlap. A group whose probabilities are all equal has no density: two
    such groups give 0 when equal and 2 when not; one such group gives 2.
    Deviation: the reference code lets the kernel leak out of [0, 1] and fails on a constant group. Between two
    neighbouring edges (grid points and sign changes) the area is a difference of cumulative curves, taken exactly. The
    grid is as fine as each group's own bandwidth, so that it can't step over groups that are crowded into one place.
    Source: Han et al. 2023, arXiv:2301.13443; bandwidth of Scott 1992.
    """
    a, b = _sorted(first), _sorted(second)
    flat_a, flat_b = float(np.ptp(a)) < 1e-12, float(np.ptp(b)) < 1e-12
    if flat_a or flat_b:
        return 0.0 if flat_a and flat_b and math.isclose(a[0], b[0], abs_tol=1e-12) else 2.0
    return _area(a, b, _scott(a), _scott(b))


def with_null(
    disparity: Callable[[Sequence[float], Sequence[float]], float],
    values: Sequence[float],
    groups: Sequence[int],
    *,
    draws: int = 200,
    seed: int = 0,
) -> WithNull | None:
    """`disparity` of the rows with group 0 and 1, and its distribution when the labels are shuffled.

    None when either group is empty. The same `seed` shuffles the same rows alike for two models.
    """
    data, who = np.asarray(values, dtype=float), np.asarray(groups)
    if not (who == 0).any() or not (who == 1).any():
        return None
    seen = disparity(data[who == 0].tolist(), data[who == 1].tolist())
    random = np.random.default_rng(seed)
    null = np.empty(draws)
    for draw in range(draws):
        mixed = random.permutation(who)
        null[draw] = disparity(data[mixed == 0].tolist(), data[mixed == 1].tolist())
    at_least = int((null >= seen - 1e-12).sum())
    return WithNull(seen, float(null.mean()), float(np.quantile(null, 0.95)), (1 + at_least) / (1 + draws))


def calibration_error(probabilities: Sequence[float], truths: Sequence[int], *, bins: int = 10) -> float | None:
    """The expected calibration error: mean |share of ones - mean probability| over bins of equally many rows.

    Range: [0, 1]. None without rows. Rows are dealt to bins in order of probability, and equal probabilities stay
    together only as far as the bins' sizes allow.
    Source: Naeini et al. 2015; equal-mass bins as in Nguyen & O'Connor 2015.
    """
    if len(probabilities) == 0:
        return None
    order = np.argsort(np.asarray(probabilities, dtype=float), kind="stable")
    p, y = np.asarray(probabilities, dtype=float)[order], np.asarray(truths, dtype=float)[order]
    parts = [part for part in np.array_split(np.arange(p.size), bins) if part.size]
    return float(sum(abs(y[part].mean() - p[part].mean()) * part.size for part in parts) / p.size)


def _sorted(values: Sequence[float]) -> Floats:
    return np.sort(np.asarray(values, dtype=float))


def _scott(values: Floats) -> float:
    return float(values.std(ddof=1) * values.size ** (-1 / 5))


def _area(a: Floats, b: Floats, width_a: float, width_b: float) -> float:
    def gap(x: Floats) -> Floats:
        return _density(a, width_a, x) - _density(b, width_b, x)

    x = np.unique(np.concatenate([[0.0, 1.0], _grid(a, width_a), _grid(b, width_b)]))
    heights = gap(x)
    turns = (heights[:-1] * heights[1:]) < 0
    roots = _roots(gap, x[:-1][turns], x[1:][turns], heights[:-1][turns], heights[1:][turns])
    edges = np.sort(np.concatenate([x, roots]))
    cumulative = _cumulative(a, width_a, edges) - _cumulative(b, width_b, edges)
    return float(np.abs(np.diff(cumulative)).sum())


def _grid(values: Floats, width: float) -> Floats:
    """Points over [0, 1] where a group's density is not nothing, `FINENESS` a bandwidth."""
    low, high = max(0.0, values[0] - REACH * width), min(1.0, values[-1] + REACH * width)
    return np.linspace(low, high, math.ceil((high - low) / width * FINENESS) + 1)


def _roots(gap: Callable[[Floats], Floats], low: Floats, high: Floats, at_low: Floats, at_high: Floats) -> Floats:
    """Where `gap` changes its sign between `low` and `high`, by three steps of false position."""
    roots = low
    for _ in range(3):
        roots = low - at_low * (high - low) / (at_high - at_low)
        at_root = gap(roots)
        left = at_root * at_low > 0
        low, at_low = np.where(left, roots, low), np.where(left, at_root, at_low)
        high, at_high = np.where(left, high, roots), np.where(left, at_high, at_root)
        if not np.all(at_high - at_low):
            break
    return roots


def _mirrors(values: Floats) -> Floats:
    return np.concatenate([values, -values, 2 - values])


def _density(values: Floats, width: float, x: Floats) -> Floats:
    z = (x[:, None] - _mirrors(values)) / width
    density: Floats = np.exp(-0.5 * z * z).sum(axis=1) / (values.size * width * math.sqrt(2 * math.pi))
    return density


def _cumulative(values: Floats, width: float, x: Floats) -> Floats:
    area: Floats = ndtr((x[:, None] - _mirrors(values)) / width).sum(axis=1) / values.size
    return area
