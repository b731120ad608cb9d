"""The room for what a sample missed: closed forms, a second route, and its size where Student's interval fails."""

import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from bench.interval_grid import copied, hidden, passes, patterns
from llmc.evaluate.stats.paired import paired_difference
from llmc.evaluate.stats.unseen import Room, below_zero, room_of


def alone(change, reach=1.0):
    return room_of(np.asarray(change, dtype=float), np.arange(len(change)), reach)


@pytest.mark.parametrize("n", [10, 50, 300, 1000])
@pytest.mark.parametrize("lost", [0, 1, 2, 5])
def test_the_edge_of_losses_of_1_is_clopper_and_pearsons(n, lost):
    edge = -stats.beta.ppf(0.95, lost + 1, n - lost)
    assert alone([-1.0] * lost + [0.0] * (n - lost)).low(0.05) == pytest.approx(edge, rel=0.01)


def test_the_edge_without_changes_is_the_rule_of_three_over_clusters():
    """1 - 0.05^(1/G) of an item's reach, whatever the clusters' size."""
    for size in (1, 10):
        room = room_of(np.zeros(30 * size), np.repeat(np.arange(30), size), 0.5)
        assert room.low(0.05) == pytest.approx(-0.5 * (1 - 0.05 ** (1 / 30)), rel=0.01)
        assert room.high(0.05) == pytest.approx(-room.low(0.05))


def inverted(values, counts):
    """The chance by Gil-Pelaez' integral of the characteristic function."""
    values, counts = np.asarray(values), np.asarray(counts)

    def part(t):
        return float((np.exp(-(counts * np.log(1 - 1j * t * values)).sum()) / t).imag)

    scale = 1 / np.sqrt((counts * values**2).sum())
    ends = scale * np.array([1e-9, 0.5, 1, 2, 4, 8, 30, 200])
    area = sum(integrate.quad(part, a, b, limit=400)[0] for a, b in itertools.pairwise(ends))
    return 0.5 - area / np.pi


@pytest.mark.parametrize("seed", range(4))
def test_the_chance_is_that_of_the_inverted_characteristic_function(seed):
    random = np.random.default_rng(seed)
    values = np.append(random.normal(0.15 + 0.1 * seed, 0.5, size=30), -2.0)
    counts = np.append(random.integers(1, 4, size=30), 1.0)
    assert below_zero(values, counts) == pytest.approx(inverted(values, counts), rel=0.03)


def test_an_even_sum_is_below_0_in_half_of_the_draws():
    assert below_zero(np.array([-1.0, 1.0])) == pytest.approx(0.5, abs=1e-3)
    many = below_zero(np.array([[-1.0, 1.0, 2.0], [-2.0, -1.0, 1.0]]))
    assert many.sum() == pytest.approx(1.0, abs=1e-6) and many[0] == below_zero(np.array([-1.0, 1.0, 2.0]))


def test_an_edge_that_is_low_enough_stays():
    room = alone([-1.0] * 3 + [0.0] * 200)
    edge = room.low(0.05)
    assert room.low(0.05, edge - 0.01) == edge - 0.01
    assert room.low(0.05, edge + 0.001) == pytest.approx(edge, abs=1e-8)
    assert room.p_above(edge) == pytest.approx(0.05, abs=1e-6)
    assert room.p_above(-1.0) == 0.0 and room.p_above(-1.5) == 0.0


def test_the_farthest_change_seen_stands_for_an_unknown_reach():
    change = np.array([-0.3] + [0.0] * 99)
    seen, known = alone(change, None), alone(change, 0.3)
    assert seen.low(0.05) == known.low(0.05)
    assert alone(np.zeros(9), None) is None
    assert alone([2.0, 0.0], 1.0).reach == 2.0  # a metric that was declared wrongly


def test_an_unseen_cluster_is_as_large_as_the_one_that_an_item_is_in():
    clusters = np.repeat([0, 1, 2], [1, 2, 3])
    assert room_of(np.arange(6.0), clusters, None).unseen == pytest.approx((1 + 4 + 9) / 6)


def test_more_of_the_same_clusters_leave_less_room():
    room = Room(np.array([-1.0, 0.0]), np.ones(2), np.array([2.0, 98.0]), 1.0)
    assert room.of_more(3).low(0.05) == pytest.approx(alone([-1.0] * 6 + [0.0] * 294).low(0.05))


# ---- size: a loss of exactly the margin ------------------------------------------------------------------------


@pytest.mark.parametrize("margin, size", [(0.01, 0.6), (0.02, 1.0), (0.05, 1.0)])
def test_few_items_that_lose_much_pass_in_at_most_5_percent(margin, size):
    """100 items, the others move by 0.02 either way: Student's interval passes more than 10 %."""
    lost, values = margin / size, [-size, -0.02, 0.02]
    change = np.random.default_rng(5).choice(values, p=[lost, (1 - lost) / 2, (1 - lost) / 2], size=(4000, 100, 1))
    by_student, by_rule = (each.mean() for each in passes(change, margin, binary=False))
    assert by_student > 0.1 and by_rule <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize("flips", [0.0, 0.05])
def test_clusters_that_are_lost_whole_pass_in_at_most_5_percent(flips):
    """30 clusters of 10: Student's and Tango's intervals pass a fifth of them, single flips beside them or not."""
    change = hidden(0.05, flips, 30, 10)(np.random.default_rng(6), 2000)
    before, now = (each.mean() for each in passes(change, 0.05, binary=True))
    assert before > 0.15 and now <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_the_benchs_rule_over_many_draws_is_the_one_that_decides():
    random, outcomes = np.random.default_rng(7), set()
    for n_clusters, size, correlation in ((60, 1, 0.0), (40, 3, 0.5), (25, 8, 1.0), (200, 1, 0.0)):
        clusters = np.repeat(np.arange(n_clusters), size)
        for margin in (0.03, 0.1):
            for pattern in patterns(margin / 2):
                change = copied(pattern, n_clusters, size, correlation)(random, 2)
                expected = passes(change, margin, binary=pattern.binary)[1]
                for one, said in zip(change.reshape(2, -1), expected, strict=True):
                    dense, other = np.maximum(-one, 0), np.maximum(one, 0)
                    if not pattern.binary:  # else losses of 1 would count as right and wrong
                        dense, other = dense / 2 + 0.25, dense / 2 + 0.25 + one
                    found = paired_difference(dense, other, clusters, largest=1.0)
                    assert (found.low > -margin) == said, (pattern, margin, size)
                    outcomes.add((pattern.binary, bool(said)))
    assert len(outcomes) == 4
