"""Packed layers for a GPU: on a CPU through the operator's reference, and its kernels in triton's interpreter."""

import importlib.util

import pytest
import torch
from torch import nn

from llmc.errors import UserError
from llmc.kernels import gpu_ops, gpu_setting
from llmc.kernels.fast_linear import fast_linear
from llmc.kernels.gpu_linear import GpuPackedLinear, gpu_packed_linear
from llmc.kernels.pack import ROW_TILE
from llmc.models.memory import n_parameters, packed_layers, tensor_bytes
from llmc.ops.codes import Codes
from tests.ops.test_codes import make


def inputs(n, columns, dtype=torch.float16):
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(7)).to(dtype)


def check(codes, x, y, bias=None, slack=5e-5):
    """The specification's tolerance: the rounding of the result to its dtype, and a little for float32 sums."""
    exact = x.double() @ codes.dequantised(torch.float64).T
    if bias is not None:
        exact = exact + bias.detach().double()
    norm = exact.norm()
    rounding = (exact.to(x.dtype).double() - exact).norm() / norm
    assert y.shape == exact.shape and y.dtype == x.dtype
    assert float((y.detach().double() - exact).norm() / norm) <= 1.1 * rounding + slack


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6, 12, 24])  # of 384, 192, 128, 96, 64, 32 and 16 columns
def test_the_layer_is_the_dequantised_product(bits, symmetric, shuffled, groups):
    codes = make(bits, 40, 384, groups, symmetric=symmetric, shuffled=shuffled)
    layer = gpu_packed_linear(codes, None)
    assert isinstance(layer, GpuPackedLinear), layer
    x = inputs(3, 384)
    check(codes, x, layer(x))


@pytest.mark.parametrize(
    "bits, groups, shuffled", [(2, 4, False), (3, 2, True), (4, 6, True), (4, 24, False), (8, 1, False)]
)
@pytest.mark.parametrize("n", [1, 20, 300])
def test_what_runs_on_a_gpu_computes_the_same_in_the_interpreter(monkeypatch, bits, groups, shuffled, n):
    """Few rows, the wide kernel, and the matrix written out: the route is chosen by the number of rows alone."""
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    codes = make(bits, 40, 384, groups, shuffled=shuffled)
    layer = gpu_packed_linear(codes, None)
    monkeypatch.setattr(gpu_ops, "_wq", gpu_ops._wq_cuda)
    x = inputs(n, 384)
    check(codes, x, layer(x), slack=5e-5 if n == 1 else 4e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_activations_of_any_dtype_and_shape_and_a_bias(dtype):
    codes, bias = make(4, 48, 256, 4), nn.Parameter(torch.randn(48).to(dtype))
    layer = gpu_packed_linear(codes, bias)
    x = inputs(6, 256, dtype)
    y = layer(x.view(2, 3, 256))
    assert y.shape == (2, 3, 48)
    if dtype == torch.float32:
        check(codes, x, y.view(6, 48), bias)
    assert torch.equal(y.view(6, 48), gpu_packed_linear(codes, None)(x) + bias)
    assert layer(x[:0]).shape == (0, 48) and layer(x[0]).shape == (48,)


@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_input_meets_its_own_column(bits, shuffled):
    codes = make(bits, 64, 256, 4, shuffled=shuffled)
    found = gpu_packed_linear(codes, None)(torch.eye(256, dtype=torch.float64))
    assert torch.equal(found.T, codes.dequantised(torch.float64))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_layer_takes_its_codes_and_16_bits_a_scale_and_zero(bits, symmetric):
    rows, columns, groups = ROW_TILE, 512, 4
    layer = gpu_packed_linear(make(bits, rows, columns, groups, symmetric=symmetric), nn.Parameter(torch.zeros(rows)))
    expected = rows * columns * bits // 8 + rows * groups * 2 * (1 if symmetric else 2)
    assert tensor_bytes(layer) == expected + 4 * rows
    assert packed_layers(layer) == [layer] and n_parameters(layer) == rows * columns + rows
    assert layer.state_dict().keys() == {"bias"}
    assert f"bits={bits}, group_size=128" in repr(layer)


def test_what_the_kernels_cannot_take_gives_its_reason():
    assert "codes of 5 bits" in gpu_packed_linear(make(5, 16, 64, 2), None)
    assert "groups of 8 columns" in gpu_packed_linear(make(4, 16, 64, 8), None)
    even = make(4, 16, 64, 2)
    uneven = Codes(codes=even.codes, scale=even.scale, zero=even.zero, bits=4, group=(torch.arange(64) > 20).long())
    assert "equal ones are needed" in gpu_packed_linear(uneven, None)
    scale = even.scale.clone()
    scale[0, 0] = 2.0**-30
    assert "too far apart" in gpu_packed_linear(Codes(codes=even.codes, scale=scale, zero=even.zero, bits=4), None)
    scale[0, 0] = 0.0  # a scale of 0 is exact
    assert isinstance(gpu_packed_linear(Codes(codes=even.codes, scale=scale, zero=even.zero, bits=4), None), nn.Module)


def test_without_the_variable_a_gpu_falls_back_and_says_how_to_turn_the_kernels_on(monkeypatch):
    monkeypatch.delenv("LLMC_GPU_KERNELS", raising=False)
    cuda = torch.device("cuda")
    assert "LLMC_GPU_KERNELS=on" in fast_linear(make(4, 16, 64, 2), None, cuda)
    monkeypatch.setenv("LLMC_GPU_KERNELS", "on")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install triton" in fast_linear(make(4, 16, 64, 2), None, cuda)
    monkeypatch.undo()
    monkeypatch.setenv("LLMC_GPU_KERNELS", "on")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not gpu_setting.in_use(cuda)
    assert any(said in fast_linear(make(4, 16, 64, 2), None, cuda) for said in ("capability 8.0", "need triton"))
    monkeypatch.setattr(gpu_setting, "in_use", lambda device: device.type == "cuda")
    assert isinstance(fast_linear(make(4, 16, 64, 2), None, cuda), GpuPackedLinear)


def test_a_layer_that_was_converted_to_another_dtype_is_refused():
    layer = gpu_packed_linear(make(4, 16, 64, 2), None).bfloat16()
    with pytest.raises(UserError, match="scales in float16"):
        layer(inputs(1, 64))


def test_the_layer_compiles_as_one_graph():
    codes = make(4, 48, 256, 4, shuffled=True)
    layer = gpu_packed_linear(codes, nn.Parameter(torch.randn(48)))
    x = inputs(5, 256, torch.float32)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert torch.equal(compiled(x), layer(x))
