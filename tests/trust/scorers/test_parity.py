"""Parity areas against closed forms, scipy, and brute force."""

import numpy as np
import pytest
from scipy.stats import gaussian_kde, wasserstein_distance

from llmc.trust.scorers import fairness, parity


@pytest.fixture
def groups():
    random = np.random.default_rng(3)
    return random.beta(2, 5, size=90), random.beta(4, 3, size=110)


def test_abcc_is_the_wasserstein_distance(groups):
    a, b = groups
    assert parity.abcc(a, b) == pytest.approx(wasserstein_distance(a, b), abs=1e-12)
    assert parity.abcc(np.round(a, 1), np.round(b, 1)) == pytest.approx(
        wasserstein_distance(np.round(a, 1), np.round(b, 1)), abs=1e-12
    )


def test_abcc_of_hard_predictions_is_the_parity_difference():
    random = np.random.default_rng(0)
    who = random.integers(0, 2, 200)
    hard = random.integers(0, 2, 200)
    dpd, _ = fairness.gaps(hard.tolist(), hard.tolist(), who.tolist())
    assert parity.abcc(hard[who == 0], hard[who == 1]) == pytest.approx(dpd, abs=1e-12)


def test_abcc_is_at_least_the_difference_of_means_and_equal_under_dominance(groups):
    a, b = groups
    assert parity.abcc(a, b) >= abs(np.mean(a) - np.mean(b)) - 1e-12
    assert parity.abcc(a, a + 0.1) == pytest.approx(0.1)
    # Equal means, different spread: parity of means sees nothing, the area does.
    assert parity.abcc([0.5, 0.5], [0.0, 1.0]) == 0.5


def test_abpc_between_zero_and_two():
    narrow = np.linspace(0.1, 0.12, 40)
    assert parity.abpc(narrow, narrow) == 0
    assert parity.abpc(narrow, narrow + 0.7) == pytest.approx(2, abs=1e-9)
    assert parity.abpc([0.3] * 5, [0.3] * 9) == 0
    assert parity.abpc([0.3] * 5, [0.4] * 9) == 2
    assert parity.abpc([0.3] * 5, narrow) == 2


def test_abpc_agrees_with_the_reference_definition_away_from_the_borders():
    """Kernel estimate, grid and trapezoid as published, on data whose kernels stay inside [0, 1]."""
    random = np.random.default_rng(1)
    a, b = random.normal(0.45, 0.06, 100), random.normal(0.55, 0.08, 100)
    x = np.linspace(0, 1, 5000)
    wanted = np.trapezoid(np.abs(gaussian_kde(a)(x) - gaussian_kde(b)(x)), x)
    assert parity.abpc(a, b) == pytest.approx(wanted, abs=1e-4)


def quadrature(a, b, n=20_001):
    """The same reflected estimate by a trapezoid on points far closer than any bandwidth: a second route."""
    top = min(1.0, 1.5 * max(a.max(), b.max()))
    x = np.linspace(0, top, n)

    def density(values):
        plain = gaussian_kde(values)
        return plain(x) + plain(-x) + plain(2 - x)

    return np.trapezoid(np.abs(density(a) - density(b)), x)


def test_abpc_of_probabilities_crowded_at_an_end():
    """Exponential groups of mean .001 and .002: the densities cross at .002 ln 2, where the curves lie 1/4 apart.

    So the true area is 1/2; a grid of 257 points has its second point at .004, behind nearly everything.
    """
    random = np.random.default_rng(5)
    a, b = random.exponential(0.001, 150), random.exponential(0.002, 130)
    assert parity.abpc(a, b) == pytest.approx(quadrature(a, b), abs=1e-4)
    assert parity.abpc(1 - a, 1 - b) == pytest.approx(parity.abpc(a, b), abs=1e-6)
    many = random.exponential(0.001, 4000), random.exponential(0.002, 4000)
    assert parity.abpc(*many) == pytest.approx(0.5, abs=0.08)
    assert parity.abpc(random.exponential(0.001, 200), random.exponential(0.001, 200)) < 0.35


def test_abpc_of_one_crowded_and_one_wide_group():
    random = np.random.default_rng(6)
    a, b = random.exponential(0.001, 100), random.uniform(size=100)
    assert parity.abpc(a, b) == pytest.approx(2, abs=0.03)
    # Hardly any of the wide group lies under the crowded one.
    near = np.concatenate([random.exponential(0.001, 100), [0.2]])
    assert parity.abpc(near, b) == pytest.approx(quadrature(near, b), abs=1e-4)


def test_abpc_loses_no_mass_at_the_borders():
    """Half the kernels' mass at 0 would be lost without reflection: the area would fall to about 1."""
    a, b = np.abs(np.random.default_rng(0).normal(0, 0.01, 200)), np.full(200, 1.0) - np.linspace(0, 0.02, 200)
    assert parity.abpc(a, b) == pytest.approx(2, abs=1e-6)


def test_the_null_is_what_two_equal_groups_show(groups):
    """Uniform scores, 100 a group: a Brownian bridge's mean area is sqrt(pi / 32) * sqrt(2 / 100) = 0.0443.

    (E|B(t)| = sqrt(2 t (1 - t) / pi); its integral over [0, 1] is sqrt(2 / pi) * pi / 8 = sqrt(pi / 32).)
    """
    random = np.random.default_rng(7)
    values, who = random.uniform(size=200), np.repeat([0, 1], 100)
    found = parity.with_null(parity.abcc, values, who, draws=400)
    assert found.null_mean == pytest.approx(np.sqrt(np.pi / 32) * np.sqrt(2 / 100), rel=0.1)
    a, b = groups
    real = parity.with_null(parity.abcc, np.concatenate([a, b]), [0] * 90 + [1] * 110, draws=99)
    assert real.p_value == 0.01 and real.value > real.null_95 > real.null_mean
    assert real == parity.with_null(parity.abcc, np.concatenate([a, b]), [0] * 90 + [1] * 110, draws=99)
    assert parity.with_null(parity.abcc, [0.1, 0.2], [1, 1]) is None


def test_p_values_are_uniform_when_nothing_is_there():
    random = np.random.default_rng(11)
    p_values = [
        parity.with_null(parity.abcc, random.uniform(size=30), [0, 1] * 15, draws=39, seed=trial).p_value
        for trial in range(200)
    ]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_calibration_error():
    assert parity.calibration_error([], []) is None
    assert parity.calibration_error([0.0, 0.0, 1.0, 1.0], [0, 0, 1, 1], bins=2) == 0
    # Two bins of two: |0.5 - 0.25| and |1 - 0.7|, half the weight each.
    assert parity.calibration_error([0.2, 0.3, 0.6, 0.8], [0, 1, 1, 1], bins=2) == pytest.approx((0.25 + 0.3) / 2)
    random = np.random.default_rng(5)
    p = random.uniform(size=20000)
    assert parity.calibration_error(p, random.uniform(size=20000) < p) < 0.02
