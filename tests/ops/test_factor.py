"""Feedback factors against the inverse that they avoid."""

import pytest
import torch

from llmc.errors import UserError
from llmc.ops.factor import damping_levels, feedback


def gram_of(n_tokens=200, width=40, common=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tokens, width, generator=generator) * torch.linspace(0.2, 2, width)
    x = x @ (torch.eye(width) + torch.randn(width, width, generator=generator) / width**0.5)
    return (x + common * torch.randn(n_tokens, 1, generator=generator)).T @ (x + common)


def symmetric(gram):
    return (gram + gram.T) / 2


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e9])
def test_it_is_the_inverse_of_the_upper_factor_of_the_inverse(descending, scale):
    """H^-1 = U^T U and M = U^-1: gain[j, i] = M_ji / M_ii and cost[i] = 1 / U_ii**2, at any scale of the gram."""
    gram = symmetric(gram_of()) * scale
    made = feedback(gram, 0.01, descending=descending)
    order = made.order if descending else torch.arange(40)
    hessian = gram.double()[order][:, order] / gram.double().diagonal().mean()
    hessian += 0.01 * torch.eye(40)
    upper = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    inverse = torch.linalg.inv(upper)
    assert torch.allclose(made.gain.double(), inverse / inverse.diagonal(), atol=1e-5)
    assert torch.allclose(made.cost.double(), 1 / upper.diagonal().square(), rtol=1e-5)


def test_the_order_is_by_falling_diagonal_and_equals_keep_theirs():
    gram = torch.diag(torch.tensor([1.0, 3.0, 2.0, 3.0]))
    assert feedback(gram, 0.01, descending=True).order.tolist() == [1, 3, 2, 0]


def test_a_matrix_too_lopsided_for_float32_is_factored_in_float64():
    """A channel that all the others share drives the norm up; float32 alone would be far less exact."""
    x = torch.randn(4000, 400, generator=torch.Generator().manual_seed(0)) * 0.02
    x = x + torch.randn(4000, 1, generator=torch.Generator().manual_seed(1)) * 3
    gram = x.T @ x
    damping = 1e-4
    hessian = gram.double() / gram.double().diagonal().mean() + damping * torch.eye(400)
    exact = torch.linalg.cholesky(hessian.flip(0, 1)).flip(0, 1)
    exact = exact / exact.diagonal()
    made = feedback(gram, damping)
    rough = torch.linalg.cholesky(hessian.float().flip(0, 1)).flip(0, 1)
    error = (made.gain.double() - exact).norm() / exact.norm()
    assert error < 0.1 * (rough / rough.diagonal() - exact).norm() / exact.norm()


def test_a_gram_of_zeros_stands_for_the_identity():
    made = feedback(torch.zeros(5, 5), 0.01)
    assert torch.equal(made.gain, torch.eye(5))
    assert torch.allclose(made.cost, torch.tensor(1.01))


def test_fewer_tokens_than_channels_are_no_obstacle():
    x = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    assert feedback(x.T @ x, 0.01).damping == 0.01


@pytest.mark.parametrize(
    ("asked", "tried"), [(0.01, [0.01, 0.1, 1.0]), (0.05, [0.05, 0.5]), (0.0, [0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0])]
)
def test_damping_goes_up_tenfold_and_not_above_one(asked, tried):
    assert damping_levels(asked) == pytest.approx(tried)


def test_what_no_damping_mends_is_refused():
    with pytest.raises(UserError, match="more or other text"):
        feedback(torch.tensor([[1.0, 9.0], [9.0, 1.0]]), 0.01)
