"""The quantised matrix kernels in triton's interpreter against the product in float64."""

import pytest
import torch

from llmc.kernels.pack import planar
from llmc.kernels.reference import as_half, dequantised
from llmc.kernels.tiles import Tiles, tiles_for
from llmc.kernels.wq_launch import dequantise, matmul

pytest.importorskip("triton", reason="the interpreter comes with triton")


def random_weight(n_out, n_in, bits, group=128, zero="none", seed=0, step_words=None):
    draw = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 2**bits, (n_out, n_in), generator=draw, dtype=torch.uint8)
    n_groups = 1 if group == -1 else n_in // group
    scale = torch.rand(n_out, n_groups, generator=draw) * 0.02 + 0.001
    scale[0, 0] = 0.0
    zeros = {
        "none": None,
        "whole": torch.randint(0, 2**bits, (n_out, n_groups), generator=draw),
        "fractions": torch.randn(n_out, n_groups, generator=draw) * 2**bits - 3.3,
    }
    return planar(codes, scale.half(), zeros[zero], bits=bits, group_size=group, step_words=step_words)


def random_x(rows, width, scale=1.0, seed=1, dtype=torch.float16):
    return (torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def relative_error(y, exact):
    return ((y.double() - exact).norm() / exact.norm().clamp(min=1e-30)).item()


def check(x, weight, *, slack=5e-5, **how):
    y = matmul(x, weight, **how)
    exact = as_half(x).double() @ dequantised(weight).T
    rounding = relative_error(exact.to(x.dtype), exact)
    assert y.shape == exact.shape and y.dtype == x.dtype
    assert relative_error(y, exact) <= 1.1 * rounding + slack
    return y


@pytest.mark.parametrize("magic", [False, True], ids=["subnormal", "magic"])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_narrow_products_are_right_for_every_width(bits, magic):
    check(random_x(3, 512), random_weight(128, 512, bits, zero="whole"), magic=magic)


@pytest.mark.parametrize(("rows", "n_out", "n_in"), [(1, 127, 256), (8, 129, 768), (9, 64, 256), (16, 40, 512)])
def test_any_number_of_rows_and_outputs_and_one_or_three_steps(rows, n_out, n_in):
    check(random_x(rows, n_in, seed=rows), random_weight(n_out, n_in, 4, zero="fractions"))


@pytest.mark.parametrize(
    ("bits", "group", "step_words"), [(4, 32, None), (4, 64, None), (4, 512, None), (4, -1, None), (3, 64, None),
                                      (2, 64, None), (8, 32, None), (4, 128, 16), (8, -1, None)]
)  # fmt: skip
def test_groups_within_a_step_across_steps_and_per_row(bits, group, step_words):
    check(random_x(2, 512), random_weight(64, 512, bits, group, zero="whole", step_words=step_words))


def test_inputs_that_do_not_fill_a_step_are_filled_up_with_nothing():
    check(random_x(2, 384), random_weight(32, 384, 3))  # a step of 3 bits is 256 columns
    check(random_x(2, 200), random_weight(32, 200, 4, -1, zero="whole"))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_one_hot_row_picks_exactly_one_column(bits):
    weight = random_weight(16, 512, bits, zero="whole")
    columns = torch.tensor([0, 1, 2, 15, 16, 17, 31, 32, 63, 64, 127, 128, 200, 255, 256, 511])
    x = torch.zeros(16, 512, dtype=torch.float16)
    x[torch.arange(16), columns] = 1.0
    for magic in (False, True):
        y = matmul(x, weight, magic=magic)
        # The magic's 1024 leaves fp32 rounding of up to 1280 * eps * scale behind.
        expected = dequantised(weight)[:, columns].T
        torch.testing.assert_close(y.double(), expected, rtol=2**-11, atol=1e-5 if magic else 1e-7)


def test_every_single_column_is_in_its_place():
    weight = random_weight(16, 256, 3, zero="whole")
    y = torch.cat([matmul(block, weight) for block in torch.eye(256, dtype=torch.float16).split(16)])
    torch.testing.assert_close(y.double(), dequantised(weight).T, rtol=2**-11, atol=1e-7)


def test_splitting_the_inputs_changes_nothing_but_rounding_and_repeats_bit_for_bit():
    weight, x = random_weight(128, 1280, 4), random_x(5, 1280)
    for split in (1, 2, 4, 8):  # 5 steps: some programs have nothing to do
        tiles = Tiles(rows=64, columns=8, split=split)
        first = check(x, weight, tiles=tiles)
        assert torch.equal(first, matmul(x, weight, tiles=tiles))


def test_extreme_activations_stay_finite_and_right():
    weight = random_weight(32, 256, 4, zero="whole")
    check(random_x(1, 256).sign() * 6e4, weight)
    assert matmul(torch.zeros(1, 256, dtype=torch.float16), weight).count_nonzero() == 0
    check(random_x(2, 256, scale=3e4, dtype=torch.float32), weight)  # beyond float16: held to its range
    x = random_x(2, 256)
    x[1, 7] = float("nan")
    y = matmul(x, weight)
    assert y[0].isfinite().all() and y[1, 1:].isnan().all()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("zero", ["none", "whole", "fractions"])
def test_wide_products_round_each_weight_to_float16(bits, zero):
    weight = random_weight(96, 512, bits, zero=zero)
    x = random_x(33, 512)
    check(x, weight, slack=4e-4, tiles=Tiles(rows=128, columns=64, split=2))


def test_the_widest_products_write_the_matrix_out_exactly():
    for bits, group in ((4, 128), (3, 64), (8, -1), (2, 32)):
        weight = random_weight(40, 512, bits, group, zero="whole")
        assert torch.equal(dequantise(weight, torch.float16), dequantised(weight).to(torch.float16))
    check(random_x(20, 512), random_weight(40, 512, 4), slack=4e-4, wide_rows=18)


def test_leading_dimensions_and_strides_are_kept():
    weight = random_weight(8, 256, 4)
    x = random_x(6, 512)[:, ::2].reshape(2, 3, 256)
    assert matmul(x, weight).shape == (2, 3, 8)
    assert torch.equal(matmul(x, weight).view(6, 8), matmul(x.reshape(6, 256).contiguous(), weight))
    strided = random_x(4, 512)[:, :256]
    assert torch.equal(matmul(strided, weight), matmul(strided.contiguous(), weight))
    assert matmul(x[:0], weight).shape == (0, 3, 8)


@pytest.mark.parametrize(("n_out", "n_in"), [(4096, 4096), (22016, 4096), (4096, 11008), (28672, 8192)])
def test_tiles_fill_the_device_where_there_is_enough_work(n_out, n_in):
    for rows in (1, 16, 64):
        tiles = tiles_for(n_out, n_in // 256, rows)
        n_programs = n_out // tiles.rows * tiles.split
        assert n_programs >= (396 if rows <= 16 else 132) and (tiles.split == 1 or n_in // 256 >= 2 * tiles.split)
    assert tiles_for(128, 1, 1) == Tiles(rows=64, columns=8, split=1)
