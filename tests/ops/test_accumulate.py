"""The running sums against their definitions, at widths on both sides of a panel."""

import pytest
import torch

from llmc.ops.accumulate import add_gram_, mirror_, relative_output_error


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", [3, 128, 130, 600])
def test_a_gram_matrix_is_the_sum_of_outer_products(width):
    batches = [random(50, width, seed=seed) for seed in range(3)]
    gram = torch.zeros(width, width)
    for batch in batches:
        add_gram_(gram, batch)
    mirror_(gram)
    x = torch.cat(batches).double()
    torch.testing.assert_close(gram.double(), x.T @ x, rtol=1e-5, atol=1e-4)
    assert torch.equal(gram, gram.T)


@pytest.mark.parametrize("width", [3, 512, 1300])
def test_the_output_error_is_that_of_the_outputs(width):
    x, weight = random(40, width), random(7, width, seed=1)
    new = weight + 0.1 * random(7, width, seed=2)
    gram = torch.zeros(width, width)
    add_gram_(gram, x)
    mirror_(gram)
    want = ((weight - new) @ x.T).double().square().sum() / (weight @ x.T).double().square().sum()
    by_gram = relative_output_error(weight, new, gram=gram, rows=None)
    assert by_gram == pytest.approx(float(want), rel=1e-4)
    assert relative_output_error(weight, new, gram=None, rows=x) == pytest.approx(float(want), rel=1e-4)


def test_an_error_of_no_output_at_all_is_undefined():
    weight = random(4, 8)
    assert relative_output_error(weight, weight + 1, gram=torch.zeros(8, 8), rows=None) is None
    assert relative_output_error(weight, weight + 1, gram=None, rows=torch.zeros(0, 8)) is None
