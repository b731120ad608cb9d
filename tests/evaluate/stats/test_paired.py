"""The deciding interval: its routes, its size in simulation, its invariances, and the cases at the ends."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from llmc.errors import UserError
from llmc.evaluate.stats.intervals import cluster_mean
from llmc.evaluate.stats.paired import interval_at, mean_of_differences, p_of_loss, paired_difference
from llmc.evaluate.stats.tango import tango_interval
from llmc.evaluate.stats.unseen import Room


def pairs(gained, lost, n):
    """Marks of n items with that many flips; each item is its own cluster."""
    dense, compressed = np.ones(n), np.ones(n)
    dense[:gained] = 0.0
    compressed[gained : gained + lost] = 0.0
    return dense, compressed, np.arange(n)


def difference(gained, lost, n, **settings):
    return paired_difference(*pairs(gained, lost, n), **settings)


def test_counts_value_and_edges_of_a_binary_task():
    d = difference(20, 45, 800)
    assert (d.gained, d.lost, d.n, d.value, d.flip_rate) == (20, 45, 800, -25 / 800, 65 / 800)
    low, high = tango_interval(20, 45, 800)
    student = cluster_mean(np.array([1.0] * 20 + [-1.0] * 45 + [0.0] * 735), np.arange(800)).edges()
    assert (d.low, d.high) == (min(low, student[0]), max(high, student[1]))


def test_independent_items_have_the_formulas_error():
    """SE^2 = (flip rate - change^2) / (n - 1)."""
    d = difference(9, 14, 1531)
    assert d.stderr**2 == pytest.approx((23 / 1531 - d.value**2) / 1530)
    assert d.deff == pytest.approx(1.0)


def test_no_flips_and_all_flips_keep_a_width():
    for d in (difference(0, 0, 200), difference(0, 30, 30), difference(30, 0, 30)):
        assert d.low < d.high
    assert round(100 * difference(0, 0, 200).high, 1) == 1.9


def test_graded_marks_that_did_not_move_keep_a_width():
    same = np.linspace(0.1, 0.9, 100)
    d = paired_difference(same, same, np.arange(100))
    assert (d.low, d.high) == tango_interval(0, 0, 100) and d.gained is None
    assert p_of_loss(d, 0.01) == 1.0


def test_one_cluster_has_no_interval():
    d = paired_difference(np.array([1.0, 0.0]), np.array([0.0, 0.0]), np.array([0, 0]))
    assert d.low is None and d.high is None and p_of_loss(d, 0.1) is None


def test_what_is_shown_stays_possible_and_what_decides_stays_students():
    """Three clusters: Student's edges of +-4.3 errors leave [-1, 1]."""
    dense, compressed = np.array([0.9, 0.1, 0.8]), np.array([0.0, 0.9, 0.1])
    d = paired_difference(dense, compressed, np.arange(3), largest=1.0)
    assert (d.low, d.high) == cluster_mean(compressed - dense, np.arange(3)).edges() and d.low < -1 and d.high > 1
    assert d.shown == (-1.0, 1.0)
    assert paired_difference(dense, compressed, np.arange(3)).shown == (d.low, d.high)
    binary = paired_difference(np.array([1.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]), np.arange(3))
    assert binary.low < -1 and binary.shown[0] == -1.0
    assert paired_difference(dense, compressed, np.zeros(3, dtype=np.int64), largest=1.0).shown is None


def test_a_mean_of_tasks_stays_possible_as_its_tasks_do():
    wide = paired_difference(np.array([0.9, 0.1]), np.array([0.0, 0.9]), np.arange(2), largest=1.0)
    graded = paired_difference(np.array([0.9, 0.1]), np.array([0.0, 0.9]), np.arange(2), largest=2.0)
    both = mean_of_differences([wide, graded], [3, 1])
    assert both.largest == 1.25 and both.low < -1.25 and both.shown == (-1.25, 1.25)
    assert mean_of_differences([wide, replace(graded, largest=None)]).largest is None


@pytest.mark.parametrize("bad", [np.array([1.0, np.nan]), np.array([1.0, np.inf])])
def test_marks_that_are_no_numbers_are_refused(bad):
    with pytest.raises(UserError, match="finite"):
        paired_difference(bad, np.ones(2), np.arange(2))
    with pytest.raises(UserError):
        paired_difference(np.ones(0), np.ones(0), np.arange(0))


def test_the_order_of_items_and_the_names_of_clusters_do_not_matter():
    generator = np.random.default_rng(0)
    dense, compressed = generator.integers(0, 2, (2, 300)).astype(float)
    clusters = np.repeat(np.arange(60), 5)
    order, names = generator.permutation(300), generator.permutation(60)
    one = paired_difference(dense, compressed, clusters)
    other = paired_difference(dense[order], compressed[order], names[clusters][order])
    assert (one.low, one.high) == pytest.approx((other.low, other.high))


def test_swapping_the_runs_mirrors_the_interval():
    dense, compressed, clusters = pairs(9, 30, 500)
    there, back = paired_difference(dense, compressed, clusters), paired_difference(compressed, dense, clusters)
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert (back.gained, back.lost) == (there.lost, there.gained)


@pytest.mark.parametrize("margin", [0.0, 0.005, 0.0118, 0.0119, 0.03])
def test_the_p_value_is_below_its_level_exactly_when_the_interval_is_below_the_margin(margin):
    d = difference(20, 45, 800)
    assert (p_of_loss(d, margin) <= 0.025) == (d.high < -margin)


def in_clusters(n_clusters, size, lost, gained):
    """Items in clusters of one size; cluster k loses `lost[k]` of its items and gains `gained[k]`."""
    change = np.zeros((n_clusters, size))
    for k, (down, up) in enumerate(zip(lost, gained, strict=True)):
        change[k, :down], change[k, down : down + up] = -1.0, 1.0
    flat, clusters = change.ravel(), np.repeat(np.arange(n_clusters), size)
    return flat, clusters, paired_difference((flat < 0).astype(float), (flat > 0).astype(float), clusters)


CLUSTERED = [
    (12, 10, [10] + [0] * 11, [0] * 12),  # one cluster lost whole: design effect 10.8
    (10, 2, [2, 1, 1, 1] + [0] * 6, [0] * 10),  # design effect between 1 and 2
    (40, 5, [5, 3, 1, 1] + [0] * 36, [0] * 39 + [2]),
]


@pytest.mark.parametrize("n_clusters, size, lost, gained", CLUSTERED)
def test_edges_of_shared_clusters_are_the_outer_ones_of_four_intervals(n_clusters, size, lost, gained):
    """By hand: Student over cluster means, Tango, Tango in n / deff items with Student's quantile, and the room of
    one more cluster at twice the level."""
    change, _, found = in_clusters(n_clusters, size, lost, gained)
    means, n = change.reshape(n_clusters, size).mean(axis=1), change.size
    error = means.std(ddof=1) / np.sqrt(n_clusters)
    deff = error**2 / (change.var(ddof=1) / n)
    student = change.mean() + np.array([-1, 1]) * stats.t.ppf(0.975, n_clusters - 1) * error
    plain = tango_interval(sum(gained), sum(lost), n)
    narrowed = tango_interval(sum(gained) / deff, sum(lost) / deff, n / deff, df=n_clusters - 1)
    assert found.deff == pytest.approx(deff) and deff > 1
    kinds = np.array(gained, dtype=float) - lost
    room = Room(kinds, np.full(n_clusters, float(size)), np.ones(n_clusters), 1.0)
    assert found.low == pytest.approx(min(student[0], plain[0], narrowed[0], room.low(0.05)))
    assert found.high == pytest.approx(max(student[1], plain[1], narrowed[1], room.high(0.05)))


@pytest.mark.parametrize("n_clusters, size, lost, gained", CLUSTERED)
def test_the_p_value_of_shared_clusters_meets_the_interval(n_clusters, size, lost, gained):
    """With the runs' items lost in most clusters, so that the upper edge lies below 0 and is a margin."""
    more = [min(size, k + size // 2) for k in lost]
    _, _, found = in_clusters(n_clusters, size, more, [min(g, size - m) for g, m in zip(gained, more, strict=True)])
    assert found.high < 0
    assert p_of_loss(found, -found.high) == pytest.approx(0.025, rel=1e-3)


def test_the_p_value_of_a_mean_of_tasks_meets_its_interval():
    d = mean_of_differences([difference(20, 45, 800), difference(10, 40, 600)])
    assert p_of_loss(d, -d.high) == pytest.approx(0.025, rel=1e-3)
    assert p_of_loss(d, -d.value + 0.001) == 1.0


def test_the_mean_of_independent_means_has_the_pythagorean_error():
    parts = [difference(20, 45, 800), difference(10, 40, 600), difference(5, 5, 300)]
    d = mean_of_differences(parts)
    assert d.value == pytest.approx(sum(p.value for p in parts) / 3)
    assert d.stderr == pytest.approx(np.sqrt(sum(p.stderr**2 for p in parts)) / 3)
    assert d.high - d.low == pytest.approx(2 * 1.96 * d.stderr, rel=0.1)
    assert (d.gained, d.lost) == (35, 90)


def test_a_mean_of_tasks_without_flips_keeps_a_width():
    assert mean_of_differences([difference(0, 0, 200)] * 4).high == pytest.approx(difference(0, 0, 200).high / 2)


def test_weights_of_zero_leave_a_task_out():
    one, other = difference(20, 45, 800), difference(10, 40, 600)
    d = mean_of_differences([one, other], [1.0, 0.0])
    assert (d.low, d.high) == pytest.approx((one.low, one.high))
    assert mean_of_differences([one]) is one
    with pytest.raises(UserError):
        mean_of_differences([one, other], [0.0, 0.0])
    with pytest.raises(UserError):
        mean_of_differences([one, other], [2.0, -1.0])


def test_a_wider_confidence_gives_a_wider_interval():
    d = difference(20, 45, 800)
    low, high = interval_at(d, 0.99)
    assert low < d.low and high > d.high


def test_an_interval_without_a_formula_is_scaled_as_a_normal_one():
    d = replace(difference(20, 45, 800), route="unpaired", value=0.0, low=-0.0196, high=0.0392)
    assert interval_at(d, 0.99) == pytest.approx((-0.02576, 0.05152), abs=1e-5)
    assert p_of_loss(d, -d.value) == 1.0 and p_of_loss(replace(d, high=None), 0.0) is None


def test_graded_marks_that_did_not_move_are_as_many_as_their_clusters():
    marks = np.full(400, 0.37)
    d = paired_difference(marks, marks, np.arange(400) // 10)
    assert (d.low, d.high) == pytest.approx(tango_interval(0, 0, 40))


def test_a_design_effect_widens_tangos_edges():
    """Every item four times over is the sample of a quarter of the size, in clusters of 4."""
    dense, compressed, _ = pairs(5, 12, 200)
    copies = paired_difference(np.repeat(dense, 4), np.repeat(compressed, 4), np.repeat(np.arange(200), 4))
    once = tango_interval(5, 12, 200)
    assert copies.deff == pytest.approx(4, rel=0.01)
    assert copies.low <= once[0] and copies.high >= once[1]


# ---- size: the deciding interval against simulated paired data -------------------------------------------------


def simulated(generator, n_clusters, size, share_gained, share_lost):
    """Changes of items in clusters: half of the items copy the flip of their cluster's first item."""
    draw = generator.choice([1.0, -1.0, 0.0], size=(n_clusters, size), p=_shares(share_gained, share_lost))
    copied = generator.uniform(size=(n_clusters, size)) < 0.5
    change = np.where(copied, draw[:, :1], draw).ravel()
    return (change < 0).astype(float), (change > 0).astype(float), np.repeat(np.arange(n_clusters), size)


def _shares(share_gained, share_lost):
    return [share_gained, share_lost, 1 - share_gained - share_lost]


@pytest.mark.parametrize("n, draws", [(20, 1500), (200, 1500), (2000, 1000)])
def test_a_loss_of_exactly_the_margin_passes_in_at_most_2_5_percent(n, draws):
    """Rows "False pass at -M" of the specification, independent items: flip rate 5 %, true change -2 points."""
    generator, margin = np.random.default_rng(n), 0.02
    tables = generator.multinomial(n, _shares(0.015, 0.035), size=draws)
    passed = {}
    for gained, lost, _ in tables:
        key = (int(gained), int(lost))
        if key not in passed:
            passed[key] = difference(*key, n).low > -margin
    share = np.mean([passed[int(b), int(c)] for b, c, _ in tables])
    assert share <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / draws)


@pytest.mark.parametrize("n, least", [(20, 0.93), (200, 0.935), (2000, 0.935)])
def test_the_interval_covers_the_truth(n, least):
    """Rows "Coverage 95 %, binary": flip rate 5 %, true change -3 points."""
    draws = 1500
    tables = np.random.default_rng(n + 1).multinomial(n, _shares(0.01, 0.04), size=draws)
    edges = {key: difference(*key, n) for key in {(int(b), int(c)) for b, c, _ in tables}}
    covered = np.mean([edges[int(b), int(c)].low <= -0.03 <= edges[int(b), int(c)].high for b, c, _ in tables])
    assert covered >= least


@pytest.mark.parametrize("n_clusters, draws", [(20, 1500), (100, 1000)])
def test_clustered_items_keep_the_false_pass_rate(n_clusters, draws):
    """Row "False pass, clusters of 5", here with a design effect of 2.3, where Tango alone passes 10 % falsely,
    cluster-t alone 6 %, and both without the effective sample 3.7 % at 20 clusters."""
    generator, margin = np.random.default_rng(n_clusters), 0.04
    passed = 0
    for _ in range(draws):
        d = paired_difference(*simulated(generator, n_clusters, 5, 0.03, 0.07))
        passed += d.low > -margin
    assert passed / draws <= 0.0283 + 3 * np.sqrt(0.0283 * 0.9717 / draws)


def test_graded_marks_cover_the_truth():
    generator, hits, draws = np.random.default_rng(11), 0, 1500
    for _ in range(draws):
        dense = generator.beta(2, 2, size=200)
        d = paired_difference(dense, dense + generator.normal(-0.02, 0.1, size=200), np.arange(200))
        hits += d.low <= -0.02 <= d.high
    assert hits / draws == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / draws))


def test_the_mean_of_tasks_covers_the_truth():
    generator, hits, draws = np.random.default_rng(12), 0, 600
    for _ in range(draws):
        tables = [generator.multinomial(n, _shares(0.02, 0.05)) for n in (100, 300, 900)]
        d = mean_of_differences([difference(int(t[0]), int(t[1]), int(t.sum())) for t in tables])
        hits += d.low <= -0.03 <= d.high
    assert hits / draws >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / draws)
