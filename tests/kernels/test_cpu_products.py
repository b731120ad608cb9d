"""The guarded operators of PyTorch: what they compute, and what is kept from them."""

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels import cpu_int4, cpu_int8


def codes(rows, columns, top=16, seed=0):
    return torch.randint(0, top, (rows, columns), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def relative(found, exact):
    return float((found.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("group_size", [32, 64, 128, 256])
@pytest.mark.parametrize("n", [1, 5])
def test_the_4_bit_product_is_its_formula(group_size, n):
    q = codes(192, 512)
    draws = torch.Generator().manual_seed(1)
    grid = (torch.rand(512 // group_size, 192, 2, generator=draws) - 0.3).bfloat16()
    x = torch.randn(n, 512, generator=draws).bfloat16()
    scale, zero = (each.T.repeat_interleave(group_size, 1).double() for each in grid.unbind(-1))
    exact = x.double() @ ((q.double() - 8) * scale + zero).T
    assert relative(cpu_int4.product(x, cpu_int4.pack(q), group_size, grid), exact) <= 4e-3


def test_every_column_stands_where_it_should():
    q = codes(64, 64)
    grid = torch.stack([torch.ones(2, 64), torch.zeros(2, 64)], -1).bfloat16()
    found = cpu_int4.product(torch.eye(64).bfloat16(), cpu_int4.pack(q), 32, grid)
    assert torch.equal(found.T.float(), q.float() - 8)


def test_packed_codes_come_back():
    layout = cpu_int4.layout()
    if layout is None:
        pytest.skip("this machine packs in an order that is not known")
    q = codes(256, 48)
    packed = cpu_int4.pack(q)
    assert torch.equal(cpu_int4.unpack(packed, slice(0, 256), layout).T, q)
    assert torch.equal(cpu_int4.unpack(packed, slice(64, 192), layout).T, q[64:192])


@pytest.mark.parametrize("shape", [(63, 64), (16, 64), (64, 63)])
def test_matrices_that_dont_fill_a_block_are_refused(shape):
    with pytest.raises(UserError, match="64 outputs and 2 inputs"):
        cpu_int4.pack(codes(*shape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_slow_dtypes_never_reach_the_operators(dtype):
    grid = torch.ones(2, 64, 2).bfloat16()
    with pytest.raises(UserError, match="bfloat16"):
        cpu_int4.product(torch.ones(1, 64, dtype=dtype), cpu_int4.pack(codes(64, 64)), 32, grid)
    with pytest.raises(UserError, match="bfloat16"):
        cpu_int8.product(torch.ones(1, 64, dtype=dtype), codes(8, 64).view(torch.int8), torch.ones(8).bfloat16())


@pytest.mark.parametrize("group_size, columns", [(16, 64), (512, 512), (64, 96)])
def test_groups_that_the_operator_cannot_take_are_refused(group_size, columns):
    grid = torch.ones(max(1, columns // group_size), 64, 2).bfloat16()
    with pytest.raises(UserError, match="32, 64, 128 or 256"):
        cpu_int4.product(torch.ones(1, columns).bfloat16(), cpu_int4.pack(codes(64, columns)), group_size, grid)


@pytest.mark.parametrize("columns", [16, 48, 256])
@pytest.mark.parametrize("n", [1, 3])
def test_the_8_bit_product_is_its_formula(columns, n):
    q = codes(24, columns, 256).view(torch.int8)
    draws = torch.Generator().manual_seed(1)
    scale = torch.rand(24, generator=draws).bfloat16()
    x = torch.randn(n, columns, generator=draws).bfloat16()
    exact = x.double() @ (q.double() * scale.double()[:, None]).T
    assert relative(cpu_int8.product(x, q, scale), exact) <= 4e-3


@pytest.mark.parametrize("columns", [8, 20, 24, 40, 72, 100, 132])
def test_widths_that_crash_the_process_are_refused(columns):
    with pytest.raises(UserError, match="multiples of 16"):
        cpu_int8.product(
            torch.ones(1, columns).bfloat16(), codes(8, columns).view(torch.int8), torch.ones(8).bfloat16()
        )
