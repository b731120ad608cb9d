"""The size of a gap over settings: the formula, what cancels and what must not, and how little chance adds."""

import numpy as np
import pytest

from llmc.evaluate.stats.gaps import CLEAR, upright

N = 200
WHO = np.repeat([1.0, -1.0], N // 2)


def setting(gap, random, spread=0.2):
    """Marks of one setting of 100 people a group."""
    return 2 * WHO * (np.clip(random.normal(0.5, spread, N), 0.15, 0.85) + WHO * gap / 2)


def drawn(gaps, random):
    marks = np.concatenate([setting(gap, random) for gap in gaps])
    return marks, np.repeat([f"s{i}" for i in range(len(gaps))], N).tolist()


def test_one_setting_is_turned_as_a_whole():
    marks = setting(-0.3, np.random.default_rng(0))
    assert (upright(marks, [""] * N) == -marks).all() and (upright(-marks, [""] * N) == -marks).all()
    assert upright(np.zeros(0), []).size == 0


def test_a_setting_is_turned_exactly_when_it_leans_clearly_to_the_other_side():
    """The border is where the two-sample z-statistic of the groups' mean probability is 2."""
    random = np.random.default_rng(1)
    base, other = setting(0.4, random), setting(0.0, random)
    p = np.abs(other) / 2
    men, women = p[WHO > 0], p[WHO < 0]
    error = np.sqrt(men.var(ddof=1) / men.size + women.var(ddof=1) / women.size)
    for shift, turned in ((CLEAR - 0.01, False), (CLEAR + 0.01, True)):
        wanted = -shift * error
        marks = 2 * WHO * (p + WHO * (wanted - other.mean()) / 2)
        assert marks.mean() == pytest.approx(wanted)
        found = upright(np.concatenate([base, marks]), ["a"] * N + ["b"] * N)
        assert (found[N:] == (-marks if turned else marks)).all() and (found[:N] == base).all()


def test_opposite_gaps_add_up_and_chance_hardly_does():
    """Eight settings: at +-0.1 by turns the signed mean is 0; where all are fair each by itself seems 0.02."""
    random = np.random.default_rng(2)
    fair, torn, torn_signed, each = [], [], [], []
    for _ in range(200):
        marks, names = drawn([0.0] * 8, random)
        fair.append(upright(marks, names).mean())
        each.append(np.abs(marks.reshape(8, N).mean(axis=1)).mean())
        marks, names = drawn([0.1, -0.1] * 4, random)
        torn.append(upright(marks, names).mean())
        torn_signed.append(abs(marks.mean()))
    assert np.mean(fair) < 0.013 < 0.02 < np.mean(each)
    assert np.mean(torn) > 0.08 and np.mean(torn_signed) < 0.013


def test_a_lone_member_of_a_group_turns_nothing():
    marks = np.concatenate([setting(0.4, np.random.default_rng(3)), [2.0, -0.2, -1.9, -2.0, -1.95]])
    assert (upright(marks, ["a"] * N + ["b"] * 5)[N:] == marks[N:]).all()
