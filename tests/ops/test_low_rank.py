"""Low-rank stand-ins against singular values by another route."""

import pytest
import torch

from llmc.ops.low_rank import nearest, nearest_output, rank_for, saves, square_root


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 16)])
@pytest.mark.parametrize("rank", [1, 5, 12])
def test_the_error_is_the_discarded_spectrum(shape, rank):
    """Eckart-Young: the squared Frobenius error is the sum of the discarded sigma squared."""
    weight = random(*shape)
    left, right = nearest(weight, rank)
    assert (left.shape, right.shape) == ((shape[0], rank), (rank, shape[1]))
    expected = torch.linalg.svdvals(weight)[rank:].square().sum()
    assert torch.allclose((weight - left @ right).square().sum(), expected, atol=1e-10)


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 16)])
@pytest.mark.parametrize("n_tokens", [100, 8])
def test_the_output_error_is_the_discarded_spectrum_of_the_output(shape, n_tokens):
    """With 8 tokens the Gram matrix is singular: a whitening by its Cholesky factor would fail."""
    weight, x = random(*shape), random(n_tokens, shape[1], seed=1) * torch.arange(1, shape[1] + 1)
    left, right = nearest_output(weight, x.T @ x, 5)
    expected = torch.linalg.svdvals(weight @ x.T)[5:].square().sum()
    scale = (weight @ x.T).square().sum()
    assert torch.allclose(
        ((weight - left @ right) @ x.T).square().sum(), expected, rtol=1e-9, atol=float(1e-12 * scale)
    )


def test_it_equals_the_whitening_route():
    """SVD-LLM: truncate W S, S the Cholesky factor of the Gram matrix, and undo S."""
    weight, x = random(20, 12), random(100, 12, seed=1)
    lower = torch.linalg.cholesky(x.T @ x)
    u, s, vh = torch.linalg.svd(weight @ lower, full_matrices=False)
    expected = (u[:, :4] * s[:4]) @ vh[:4] @ torch.linalg.inv(lower)
    left, right = nearest_output(weight, x.T @ x, 4)
    assert torch.allclose(left @ right, expected, atol=1e-10)
    left, right = nearest_output(weight[:10], x.T @ x, 4, square_root(x.T @ x))
    u, s, vh = torch.linalg.svd(weight[:10] @ lower, full_matrices=False)
    assert torch.allclose(left @ right, (u[:, :4] * s[:4]) @ vh[:4] @ torch.linalg.inv(lower), atol=1e-10)


def test_a_root_gives_the_gram_back():
    x = random(4, 10)
    root = square_root(x.T @ x)
    assert torch.allclose(root @ root.T, x.T @ x, atol=1e-10)


@pytest.mark.parametrize(("shape", "kept", "rank"), [((4096, 4096), 0.5, 1024), ((18, 9), 1.0, 6), ((4, 4), 0.01, 1)])
def test_the_rank_for_a_share_of_the_parameters(shape, kept, rank):
    assert rank_for(*shape, kept) == rank


def test_half_of_the_rank_of_a_square_matrix_saves_nothing():
    assert not saves(4096, 4096, 2048)
    assert saves(4096, 4096, 2047)
    assert saves(4096, 11008, 2985) and not saves(4096, 11008, 2986)
