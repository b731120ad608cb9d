"""The fused column sweep in triton's interpreter against the plain one, ties included."""

import pytest
import torch

from llmc.kernels import gpu_setting
from llmc.kernels import sweep as dispatch
from llmc.kernels.sweep import fits, fused_sweep, sweep
from llmc.kernels.sweep_triton import divided
from llmc.kernels.triton_compat import jit, tl
from llmc.ops.factor import Feedback, feedback
from llmc.ops.grid import Grid, fit_grid
from llmc.ops.masks import Pattern, drop_lowest, keep_n_of_m
from llmc.ops.sweep import SweepSettings
from llmc.ops.sweep import sweep as plain_sweep

pytest.importorskip("triton", reason="the interpreter comes with triton")

SMALL = (16, 8, 32)
"""Blocks of 16 columns in sub-blocks of 8: the interpreter takes a millisecond a column."""


def exact_problem(rows, width, seed=0, order=False, on_grid=True):
    """Weights and gains that are multiples of powers of two: every sum of the sweep is exact, in any order.

    On a grid errors are measured against the original weights, so they stay multiples of 1/16; and with scales of 1/4
    and 1/2 many quotients are halves, which is a tie of rounding. Off a grid few whole gains keep them so.
    """
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randint(-32, 33, (rows, width), generator=draw) / 16.0
    gain = torch.randint(-2, 3, (width, width), generator=draw).float().div(4)
    if not on_grid:
        gain = gain.sign() * (torch.rand(width, width, generator=draw) < 3 / width)
    gain = gain.triu(1) + torch.eye(width)
    cost = 2.0 ** torch.randint(-2, 3, (width,), generator=draw)
    return weight, Feedback(
        gain=gain, cost=cost, order=torch.randperm(width, generator=draw) if order else None, damping=0.01
    )


def exact_grid(rows, width, group, symmetric, bits=3, seed=5):
    draw = torch.Generator().manual_seed(seed)
    scale = 2.0 ** torch.randint(-2, 0, (rows, width // group), generator=draw)
    zero = torch.randint(0, 2**bits, scale.shape, generator=draw).float()
    zero = torch.full_like(zero, 2 ** (bits - 1)) if symmetric else zero
    return Grid(scale=scale, zero=zero, bits=bits, group_size=group, symmetric=symmetric)


def same_both_ways(weight, factors, settings):
    fused, plain = fused_sweep(weight, factors, settings, shape=SMALL), plain_sweep(weight, factors, settings)
    assert torch.equal(fused.result, plain.result)
    assert (fused.keep is None) == (plain.keep is None)
    assert fused.keep is None or torch.equal(fused.keep, plain.keep)


@pytest.mark.parametrize("order", [False, True], ids=["in order", "permuted"])
@pytest.mark.parametrize("symmetric", [False, True], ids=["zeros", "symmetric"])
def test_codes_equal_the_plain_sweeps_bit_for_bit_ties_included(symmetric, order):
    weight, factors = exact_problem(40, 48, order=order)
    grid = exact_grid(40, 48, 16, symmetric)
    settings = SweepSettings(grid=grid)
    same_both_ways(weight, factors, settings)
    halves = (weight / 0.25 % 1 == 0.5).sum()
    assert halves > 100, "the problem has no ties"


@pytest.mark.parametrize("quantise", [False, True], ids=["prune", "prune and round"])
@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(1, 2), Pattern(3, 8)], ids=str)
def test_n_of_m_chosen_in_the_kernel_is_the_plain_choice(pattern, quantise):
    weight, factors = exact_problem(33, 32, seed=pattern.of, on_grid=quantise)
    grid = exact_grid(33, 32, 16, False) if quantise else None

    def select(score):
        return keep_n_of_m(score.T, pattern).T

    keep = torch.rand(weight.shape, generator=torch.Generator().manual_seed(9)) > 0.1
    settings = SweepSettings(
        grid=grid, keep=keep if quantise else None, select=select, every=pattern.of, pattern=pattern
    )
    same_both_ways(weight, factors, settings)


def test_one_threshold_for_all_rows_of_a_block_is_the_plain_choice():
    weight, factors = exact_problem(20, 48, seed=3, on_grid=False)

    def select(score):
        return drop_lowest(score.reshape(1, -1), 0.5).view(score.shape)

    for every in (16, 32):
        same_both_ways(weight, factors, SweepSettings(select=select, every=every))


def test_a_mask_that_was_there_before_is_kept():
    weight, factors = exact_problem(8, 32)
    keep = torch.rand(8, 32, generator=torch.Generator().manual_seed(2)) > 0.5
    grid = exact_grid(8, 32, 32, True)
    same_both_ways(weight, factors, SweepSettings(grid=grid, keep=keep))


def test_a_width_that_fills_no_block_is_filled_up():
    weight, factors = exact_problem(5, 24)
    grid = exact_grid(5, 24, 8, False)
    same_both_ways(weight, factors, SweepSettings(grid=grid))


def test_real_numbers_agree_up_to_rounding():
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 32, generator=draw)
    inputs = torch.randn(256, 32, generator=draw) @ (torch.randn(32, 32, generator=draw) + 8 * torch.eye(32))
    factors = feedback(inputs.T @ inputs, 0.01, descending=True)
    grid = fit_grid(weight, bits=4, group_size=16, symmetric=True, search=True)
    settings = SweepSettings(grid=grid)
    fused = fused_sweep(weight, factors, settings, shape=SMALL)
    plain = plain_sweep(weight, factors, settings)
    assert (fused.result == plain.result).float().mean() >= 0.999

    def loss(swept):
        short = weight - grid.values(swept.result)
        return (short @ inputs.T).square().sum()

    torch.testing.assert_close(loss(fused), loss(plain), rtol=1e-4, atol=0)


def test_without_coupling_it_is_rounding_to_nearest():
    weight, _ = exact_problem(8, 16)
    identity = Feedback(gain=torch.eye(16), cost=torch.ones(16), order=None, damping=0.01)
    grid = exact_grid(8, 16, 16, False)
    fused = fused_sweep(weight, identity, SweepSettings(grid=grid), shape=SMALL)
    assert torch.equal(fused.result, grid.offsets(weight))


@jit
def divide_kernel(dividend, divisor, inverse, out, N: tl.constexpr):
    k = tl.arange(0, N)
    tl.store(out + k, divided(tl.load(dividend + k), tl.load(divisor + k), tl.load(inverse + k)))


def test_division_by_a_rounded_inverse_is_exact():
    draw = torch.Generator().manual_seed(0)
    n = 1 << 15
    divisor = torch.rand(n, generator=draw).add(0.01) * 10.0 ** torch.randint(-7, 1, (n,), generator=draw)
    dividend = torch.randn(n, generator=draw) * 10.0 ** torch.randint(-4, 5, (n,), generator=draw)
    dividend[: n // 2] = divisor[: n // 2] * (torch.randint(-8, 8, (n // 2,), generator=draw) + 0.5)
    out = torch.empty(n)
    divide_kernel[(1,)](dividend, divisor, 1.0 / divisor, out, N=n)
    assert torch.equal(out, dividend / divisor)


def test_the_walk_asks_the_kernel_only_where_it_is_in_use_and_fits(monkeypatch):
    weight, factors = exact_problem(4, 32)
    asked = []
    monkeypatch.setattr(dispatch, "fused_sweep", lambda *a: asked.append(a) or plain_sweep(*a))
    sweep(weight, factors, SweepSettings())
    assert not asked
    monkeypatch.setattr(gpu_setting, "in_use", lambda device: True)
    sweep(weight, factors, SweepSettings())
    assert len(asked) == 1
    for every, pattern, fit in (
        (128, None, True), (4, Pattern(2, 4), True), (4, None, False), (5, Pattern(2, 5), False)
    ):  # fmt: skip
        assert fits(SweepSettings(select=lambda s: s > 0, every=every, pattern=pattern)) is fit
