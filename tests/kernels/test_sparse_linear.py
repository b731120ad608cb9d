"""Layers without their zeros: the unpacked one against the dense layer bit for bit, CSR against it in float64."""

import pytest
import torch
from torch import nn

from llmc.kernels.cpu_sparse import MANY_ROWS, MANY_ROWS_DENSER, CsrLinear, csr_linear
from llmc.kernels.sparse_linear import SparseLinear
from llmc.models.memory import tensor_bytes
from llmc.ops import bitmask
from llmc.ops.bitmask import Bitmask, n_kept
from tests.ops.test_bitmask import draw

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch's CSR products need MKL")


def layers(kind, rows, columns, density, dtype, bias):
    weight = draw(rows, columns, density, dtype)
    weight[rows // 2] = 0
    dense = nn.Linear(columns, rows, bias=bias, dtype=dtype)
    dense.weight.data = weight
    return kind(Bitmask.of(weight), dense.bias), dense


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 61), (2, 3, 61), (130, 61), (0, 61)])
@pytest.mark.parametrize("bias", [True, False])
def test_exact_is_the_dense_layer_bit_for_bit(dtype, shape, bias):
    layer, dense = layers(SparseLinear, 45, 61, 0.5, dtype, bias)
    x = torch.randn(shape).to(dtype)
    assert torch.equal(layer(x), dense(x)) and layer(x).shape == dense(x).shape
    before = tensor_bytes(layer)
    layer(x)
    kept = int((dense.weight != 0).sum())
    assert tensor_bytes(layer) == before == kept * dtype.itemsize + 45 * 8 + (45 * dtype.itemsize if bias else 0)
    assert (
        layer.n_weights == 45 * 61
        and "density=0.4" in repr(layer)
        and not [k for k in layer.state_dict() if k != "bias"]
    )


def test_exact_reaches_its_device_whole_and_unpacks_there():
    """On a device without memory: shapes, dtypes and devices are checked by torch, and nothing is left on the CPU."""
    layer = layers(SparseLinear, 45, 61, 0.5, torch.bfloat16, True)[0]
    starts = layer.starts
    layer = layer.to("meta")
    assert {t.device.type for t in (*layer.parameters(), *layer.buffers())} == {"meta"} and layer.starts is starts
    assert not [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)]
    y = layer(torch.empty(2, 3, 61, dtype=torch.bfloat16, device="meta"))
    assert y.shape == (2, 3, 45) and y.device.type == "meta" and y.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_exact_is_bit_for_bit_the_same_the_way_of_other_devices(monkeypatch, dtype):
    monkeypatch.delitem(bitmask._WAYS, "cpu")
    layer, dense = layers(SparseLinear, 45, 61, 0.5, dtype, True)
    x = torch.randn(7, 61).to(dtype)
    assert torch.equal(layer(x), dense(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", [SparseLinear, CsrLinear])
def test_half_precision_values_serve_wider_activations(kind, dtype):
    layer, dense = layers(kind, 20, 24, 0.5, torch.bfloat16, False)
    x = torch.randn(3, 24).to(dtype)
    exact = nn.functional.linear(x.double(), dense.weight.double())
    assert layer(x).dtype == dtype
    torch.testing.assert_close(layer(x).double(), exact, rtol=1e-5, atol=1e-5)
    if kind is SparseLinear:
        assert torch.equal(layer(x), nn.functional.linear(x, dense.weight.to(dtype)))


@needs_mkl
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.bfloat16, 4e-3), (torch.float16, 5e-4)])
@pytest.mark.parametrize("n_rows", [1, 2, 7, MANY_ROWS[torch.bfloat16] - 1])
@pytest.mark.parametrize("bias", [True, False])
def test_csr_is_the_dense_product_to_one_rounding(dtype, bound, n_rows, bias):
    layer, dense = layers(CsrLinear, 90, 333, 0.1, dtype, bias)
    x = torch.randn(n_rows, 333).to(dtype)
    exact = nn.functional.linear(x.double(), dense.weight.double(), dense.bias.double() if bias else None)
    got = layer(x)
    assert got.dtype == dtype and (got.double() - exact).norm() <= bound * exact.norm()
    assert torch.equal(layer(x.view(1, n_rows, 333)), got.unsqueeze(0))


@needs_mkl
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_csr_fills_in_its_zeros_for_many_rows_and_for_none(dtype):
    layer, dense = layers(CsrLinear, 900, 601, 0.1, dtype, True)
    assert torch.equal(layer.dequantised(dtype), dense.weight.data)
    for n_rows in (MANY_ROWS[dtype], 0):
        x = torch.randn(n_rows, 601).to(dtype)
        assert torch.equal(layer(x), dense(x))


@needs_mkl
def test_csr_gives_up_at_fewer_rows_where_more_is_kept():
    sparse, denser = (layers(CsrLinear, 90, 333, density, torch.float32, False)[0] for density in (0.05, 0.2))
    assert sparse.many_rows(torch.float32) == MANY_ROWS[torch.float32] > MANY_ROWS_DENSER
    assert denser.many_rows(torch.float32) == MANY_ROWS_DENSER and denser.many_rows(torch.float64) == 0


@needs_mkl
def test_csr_takes_eight_bytes_a_kept_weight():
    layer, dense = layers(CsrLinear, 64, 64, 0.1, torch.bfloat16, False)
    assert tensor_bytes(layer) == 8 * int((dense.weight != 0).sum()) + 4 * 65 and layer.n_weights == 64 * 64


@needs_mkl
def test_csr_is_made_from_its_density_on_and_else_says_why():
    def made(density, dtype):
        weight = draw(100, 100, density, dtype)
        return csr_linear(weight, n_kept(weight), None, dtype)

    assert isinstance(made(0.1, torch.bfloat16), CsrLinear) and isinstance(made(0.19, torch.float32), CsrLinear)
    assert "fewer than 90 % zeros" in made(0.19, torch.bfloat16) and "fewer than 80 % zeros" in made(0.3, torch.float32)
