"""Tables and binary planes in triton's interpreter against their definitions."""

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels.lut import dequantised, matmul, planes_of, tables

pytest.importorskip("triton", reason="the interpreter comes with triton")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def check(x, weight, **how):
    exact = x.double() @ dequantised(weight).T
    assert (matmul(x, weight, **how).double() - exact).norm() <= 6e-4 * exact.norm()


@pytest.mark.parametrize(("n_in", "n_groups"), [(384, 1), (200, 1), (512, 2)])
def test_a_table_look_up_is_the_table_at_the_code(n_in, n_groups):
    codes = torch.randint(0, 16, (20, n_in), generator=draw(), dtype=torch.uint8)
    table = torch.randn(20, n_groups, 16, generator=draw(1)).half()
    weight = tables(codes, table)
    by_hand = torch.gather(table.repeat_interleave(n_in // n_groups, 1), 2, codes.long().unsqueeze(2)).squeeze(2)
    assert torch.equal(dequantised(weight), by_hand.double())
    x = torch.randn(3, n_in, generator=draw(2)).half()
    check(x, weight)
    one_hot = torch.nn.functional.one_hot(torch.tensor([0, 17, n_in - 1]), n_in).half()
    assert torch.equal(matmul(one_hot, weight), by_hand[:, [0, 17, n_in - 1]].T)


def test_permuting_a_table_and_its_codes_alike_changes_nothing():
    codes = torch.randint(0, 16, (8, 128), generator=draw(), dtype=torch.uint8)
    table = torch.randn(8, 1, 16, generator=draw(1))
    order = torch.randperm(16, generator=draw(2))
    x = torch.randn(2, 128, generator=draw(3)).half()
    moved = tables(order.argsort()[codes.long()].to(torch.uint8), table[:, :, order])
    assert torch.equal(matmul(x, moved), matmul(x, tables(codes, table)))


def test_tables_of_equal_values_make_all_outputs_equal():
    codes = torch.randint(0, 16, (8, 128), generator=draw(), dtype=torch.uint8)
    x = torch.randn(2, 128, generator=draw(3)).half()
    y = matmul(x, tables(codes, torch.full((8, 1, 16), 0.5)))
    assert torch.equal(y, y[:, :1].expand_as(y))


@pytest.mark.parametrize(("q", "group", "split"), [(1, 128, 1), (3, 128, 2), (2, 256, 1)])
def test_binary_planes_are_their_signed_sum(q, group, split):
    bits = torch.rand(q, 24, 1024, generator=draw()) < 0.5
    alpha = torch.rand(q, 24, 1024 // group, generator=draw(1)) * 0.1
    bias = torch.randn(24, 1024 // group, generator=draw(2)) * 0.1
    weight = planes_of(bits, alpha.half(), bias, group)
    signs = bits.double() * 2 - 1
    by_hand = (alpha.half().double().repeat_interleave(group, 2) * signs).sum(0) + bias.double().repeat_interleave(
        group, 1
    )
    torch.testing.assert_close(dequantised(weight), by_hand, rtol=0, atol=1e-7)
    check(torch.randn(2, 1024, generator=draw(4)).half(), weight, split=split)


def test_planes_of_a_uniform_grid_are_that_grid():
    codes = torch.randint(0, 8, (16, 512), generator=draw())
    bits = torch.stack([(codes >> b) & 1 for b in range(3)]).bool()
    alpha = (0.5 * torch.tensor([0.5, 1.0, 2.0])).view(3, 1, 1).expand(3, 16, 4)
    weight = planes_of(bits, alpha, torch.full((16, 4), 0.5 * 3.5 - 0.5 * 2), 128)
    assert torch.equal(dequantised(weight), (codes.double() - 2) * 0.5)


def test_shapes_that_do_not_fit_are_refused_with_a_way_out():
    with pytest.raises(UserError, match="groups of 64"):
        tables(torch.zeros(1, 256, dtype=torch.uint8), torch.zeros(1, 4, 16))
    with pytest.raises(UserError, match="binary planes"):
        planes_of(torch.zeros(1, 1, 500, dtype=torch.bool), torch.zeros(1, 1, 1), torch.zeros(1, 1), 500)
