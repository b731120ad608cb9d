"""Holm's rule against its definition, and the size of "any of these rows is lost"."""

import itertools

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from llmc.evaluate.stats.holm import holm_stands


def by_definition(p_values, alpha):
    """A claim stands if every intersection of hypotheses that holds it is rejected by Bonferroni (closed testing)."""
    m = len(p_values)
    stands = []
    for i in range(m):
        others = [j for j in range(m) if j != i]
        families = [(i, *extra) for size in range(m) for extra in itertools.combinations(others, size)]
        stands.append(all(min(p_values[j] for j in family) <= alpha / len(family) for family in families))
    return stands


@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_closed_test_of_bonferroni(seed):
    p_values = np.random.default_rng(seed).beta(0.4, 8, size=6).tolist()
    assert holm_stands(p_values, 0.05) == by_definition(p_values, 0.05)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_librarys_holm(seed):
    p_values = np.random.default_rng(seed).beta(0.3, 8, size=12)
    expected = multipletests(p_values, alpha=0.025, method="holm")[0].tolist()
    assert holm_stands(p_values.tolist(), 0.025) == expected


def test_it_is_not_the_librarys_default_of_holm_sidak():
    """0.0253 is above 0.05 / 2 but below Sidak's 1 - sqrt(0.95) = 0.02532."""
    assert holm_stands([0.0253, 0.9], 0.05) == [False, False]
    assert multipletests([0.0253, 0.9], alpha=0.05)[0].tolist() == [True, False]


def test_a_row_without_a_p_value_counts_as_a_try():
    assert holm_stands([0.02], 0.025) == [True]
    assert holm_stands([0.02, None], 0.025) == [False, False]
    assert holm_stands([], 0.025) == []


def test_a_p_value_of_exactly_its_level_stands():
    assert holm_stands([0.025, 0.0125], 0.025) == [True, True]


def test_any_of_20_equal_rows_is_called_lost_in_at_most_the_nominal_share():
    p_values = np.random.default_rng(5).uniform(size=(2_000, 20))
    share = np.mean([any(holm_stands(row.tolist(), 0.025)) for row in p_values])
    assert share <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 2_000)
