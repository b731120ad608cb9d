"""Which sparse layer a device gets: one form a layer, by its zeros, its values and a timed check; and why none."""

import importlib.util
import logging

import pytest
import torch
from torch import nn

from llmc.kernels import fast_sparse, gpu_setting, semi_structured
from llmc.kernels.cpu_sparse import CsrLinear
from llmc.kernels.fast_sparse import fast_sparse_linear
from llmc.kernels.gpu_sparse import GapLinear, TwoOfFourLinear
from llmc.ops.bitmask import n_kept
from tests.kernels.test_gpu_sparse import CPU, pairs
from tests.ops.test_bitmask import draw

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def nothing_timed(monkeypatch):
    monkeypatch.setattr(fast_sparse, "_won", {})


@pytest.fixture
def in_use(monkeypatch):
    """As on a GPU; tensors stay where they are."""
    monkeypatch.setattr(gpu_setting, "in_use", lambda device: True)


def made(weight, dtype=None, device=CPU, bias=None):
    return fast_sparse_linear(weight, n_kept(weight), bias, dtype or weight.dtype, device)


def says(monkeypatch, answer):
    seen = []
    monkeypatch.setattr(
        fast_sparse, "faster", lambda other, product, x: seen.append((type(other), tuple(x.shape))) or answer
    )
    return seen


def test_without_the_kernels_a_gpu_has_none_and_says_how_to_turn_them_on(monkeypatch):
    weight = draw(32, 2048, 0.1, torch.bfloat16)
    monkeypatch.delenv("LLMC_GPU_KERNELS", raising=False)
    assert "LLMC_GPU_KERNELS=on" in made(weight, device=CUDA)
    monkeypatch.setenv("LLMC_GPU_KERNELS", "on")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install triton" in made(weight, device=CUDA)
    assert "the device xpu" in made(weight, device=torch.device("xpu"))


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch's CSR products need MKL")
def test_a_cpu_gets_csr():
    assert isinstance(made(draw(100, 100, 0.05, torch.bfloat16)), CsrLinear)
    assert "fewer than 90 %" in made(draw(100, 100, 0.5, torch.bfloat16))


@pytest.mark.parametrize("density", [0.5, 0.3, 0.1])
def test_unstructured_zeros_are_gaps_and_nothing_is_timed(monkeypatch, in_use, density):
    seen = says(monkeypatch, True)
    bias = nn.Parameter(torch.zeros(64))
    layer = made(draw(64, 2048, density, torch.bfloat16), bias=bias)
    assert isinstance(layer, GapLinear) and layer.bias is bias and not seen


@pytest.mark.parametrize("wins", [True, False])
def test_two_of_four_is_torchs_where_it_wins_and_gaps_where_not(monkeypatch, in_use, wins, caplog):
    seen, bias = says(monkeypatch, wins), nn.Parameter(torch.zeros(64))
    with caplog.at_level(logging.INFO, logger="llmc"):
        for seed in (0, 1):
            layer = made(pairs(64, 2048, torch.bfloat16, seed), bias=bias)
            assert type(layer) is (TwoOfFourLinear if wins else GapLinear) and layer.bias is bias
    assert seen == [(GapLinear, (semi_structured.LEAST_ROWS, 2048))], "one check for a shape, against what it would be"
    assert ["is used" in r.message for r in caplog.records] == [wins]
    made(pairs(96, 2048, torch.bfloat16))
    made(pairs(64, 2048, torch.float16))
    assert len(seen) == 3


def test_the_check_is_by_the_clock(monkeypatch, in_use):
    """The real check, with a clock that each product moves by what it costs."""
    clock = [0.0]
    monkeypatch.setattr(semi_structured, "_settled_clock", lambda device: lambda: clock[0])
    product = fast_sparse.two_of_four_matmul
    for seconds, kind in ((0.5, TwoOfFourLinear), (2.0, GapLinear)):
        monkeypatch.setattr(fast_sparse, "_won", {})

        def by_pairs(x, matrix, seconds=seconds):
            clock[0] += seconds
            return product(x, matrix)

        def by_gaps(self, x):
            clock[0] += 1.0
            return x

        monkeypatch.setattr(fast_sparse, "two_of_four_matmul", by_pairs)
        monkeypatch.setattr(GapLinear, "forward", by_gaps)
        assert type(made(pairs(64, 512, torch.bfloat16))) is kind


def test_what_is_sparser_than_two_of_four_is_smaller_as_gaps(monkeypatch, in_use):
    """From 55 % zeros on: 2.5 bytes for each of 45 % are 2:4's 1.125."""
    says(monkeypatch, True)
    for step, kind in ((16, TwoOfFourLinear), (8, GapLinear)):
        weight = pairs(64, 2048, torch.bfloat16)
        weight[:, ::step] = 0
        assert (n_kept(weight) < 0.45 * weight.numel()) == (step == 8)
        assert type(made(weight)) is kind


def test_two_of_four_that_float16_cannot_hold_is_set_against_the_dense_product(monkeypatch, in_use):
    weight = pairs(64, 2048, torch.bfloat16) * 1e6
    seen = says(monkeypatch, True)
    layer = made(weight)
    assert isinstance(layer, TwoOfFourLinear) and torch.equal(layer.dequantised(torch.bfloat16), weight)
    assert seen[0][0].__name__ == "function"
    monkeypatch.setattr(fast_sparse, "_won", {})
    says(monkeypatch, False)
    why = made(weight)
    assert "float16 holds less well" in why and why.endswith("and torch's 2:4 product isn't faster here")


def test_a_float32_model_has_gaps_or_its_reason(in_use):
    assert isinstance(made(pairs(64, 2048, torch.bfloat16), torch.float32), GapLinear)
    assert "float16 holds less well" in made(pairs(64, 2048, torch.float32))
    assert "more than 75 %" in made(draw(64, 2048, 0.65, torch.bfloat16))


def test_a_product_that_is_wrong_or_does_not_run_is_never_used(monkeypatch, in_use, caplog):
    says(monkeypatch, True)
    product = fast_sparse.two_of_four_matmul
    monkeypatch.setattr(fast_sparse, "two_of_four_matmul", lambda x, matrix: 1.1 * product(x, matrix))
    assert isinstance(made(pairs(64, 2048, torch.bfloat16)), GapLinear)
    assert "off by 0.1" in caplog.records[0].message

    def broken(x, matrix):
        raise RuntimeError("CUDA error: architecture mismatch when calling `cusparseLtInit`\nmore")

    monkeypatch.setattr(fast_sparse, "two_of_four_matmul", broken)
    assert isinstance(made(pairs(32, 2048, torch.bfloat16)), GapLinear)
    assert caplog.records[-1].message == (
        "torch's 2:4 product does not run here: CUDA error: architecture mismatch when calling `cusparseLtInit`"
    )
