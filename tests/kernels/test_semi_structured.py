"""2:4 through torch: our own words for what it doesn't take, and the timed check with a clock of our own."""

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels.semi_structured import LEAST_ROWS, check_shape, compressed, faster


def two_of_four(rows, columns, dtype=torch.float16):
    return torch.tensor([1.0, 0.0, -2.0, 0.0], dtype=dtype).repeat(rows, columns // 4)


def test_what_torch_does_not_take_is_refused_in_our_words():
    check_shape(two_of_four(32, 64))
    with pytest.raises(UserError, match="no matrix of"):
        check_shape(two_of_four(33, 64))
    with pytest.raises(UserError, match="no matrix of"):
        check_shape(two_of_four(32, 32))
    with pytest.raises(UserError, match=r"no torch\.int8"):
        check_shape(two_of_four(32, 64, torch.int8))
    with pytest.raises(UserError, match="not 2:4"):
        check_shape(torch.ones(32, 64, dtype=torch.float16))
    with pytest.raises(UserError, match="CUDA"):
        compressed(two_of_four(32, 64))


@pytest.mark.parametrize(("dense_s", "sparse_s", "wins"), [(2.0, 1.0, True), (1.0, 2.0, False), (1.0, 1.0, False)])
def test_the_faster_of_the_two_wins_by_the_clock(dense_s, sparse_s, wins):
    clock = [0.0]

    def product(seconds):
        def run(x):
            clock[0] += seconds
            return x

        return run

    x = torch.empty(LEAST_ROWS, 1)
    assert faster(product(dense_s), product(sparse_s), x, clock=lambda: clock[0]) is wins


def test_it_is_not_even_tried_for_few_rows():
    def never(x):
        raise AssertionError

    assert not faster(never, never, torch.empty(LEAST_ROWS - 1, 1))
