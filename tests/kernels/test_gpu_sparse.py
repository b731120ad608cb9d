"""Sparse layers for a GPU: on a CPU through the operators' references, and the gap kernels in triton's interpreter."""

import pytest
import torch
from torch import nn

from llmc.kernels import sparse_ops
from llmc.kernels.gap_sparse import BLOCK
from llmc.kernels.gpu_sparse import GAP_ROWS, GapLinear, TwoOfFourLinear, gap_linear, two_of_four_linear
from llmc.models.memory import n_parameters, packed_layers, tensor_bytes
from llmc.ops.bitmask import n_kept
from llmc.ops.masks import Pattern, keep_n_of_m
from tests.ops.test_bitmask import draw

CPU = torch.device("cpu")
ROWS = [(1, 1), (2, 1), (1, 3), (9, 1), (3, 3), (0, 1)]


def gaps(weight, bias=None, dtype=None):
    return gap_linear(weight, n_kept(weight), bias, dtype or weight.dtype)


def pairs(rows, columns, dtype, seed=0):
    draws = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, columns, generator=draws)
    weight = weight.where(keep_n_of_m(torch.rand(rows, columns, generator=draws), Pattern(2, 4)), 0.0)
    weight[rows // 2] = 0.0
    return weight.to(dtype)


def inputs(shape, columns, dtype):
    return torch.randn(*shape, columns, generator=torch.Generator().manual_seed(7)).to(dtype)


def bias_of(rows, dtype, has_bias):
    return nn.Parameter(torch.randn(rows, generator=torch.Generator().manual_seed(8)).to(dtype)) if has_bias else None


def check(layer, weight, x, slack=5e-5):
    """To one rounding of the product to its dtype, one more where a bias is added, and float32 sums."""
    product = x.double() @ weight.double().T
    exact = product if layer.bias is None else product + layer.bias.detach().double()
    y = layer(x).detach()
    assert y.shape == exact.shape and y.dtype == x.dtype
    roundings = torch.finfo(x.dtype).eps / 2 * (product.norm() + exact.norm())
    assert (y.double() - exact).norm() <= roundings + slack * exact.norm()


@pytest.mark.parametrize("sparsity", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("rows, columns", [(40, 2048), (7, 4000)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_gap_layer_is_the_dense_product(sparsity, dtype, rows, columns, has_bias):
    weight = draw(rows, columns, 1 - sparsity, torch.bfloat16).to(dtype)
    weight[rows // 2], weight[0] = 0, 0
    weight[-1, :-1] = 0
    layer = gaps(weight, bias_of(rows, dtype, has_bias))
    assert isinstance(layer, GapLinear), layer
    for shape in ROWS:
        check(layer, weight, inputs(shape, columns, dtype))
    assert torch.equal(layer.dequantised(dtype), weight.half().to(dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("n_rows", [1, 2, 3, 9])
def test_what_the_gap_layer_does_on_a_gpu_is_the_same_in_the_interpreter(monkeypatch, dtype, n_rows):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    weight = draw(9, 2048, 0.3, torch.bfloat16).to(dtype)
    weight[4] = 0
    layer = gaps(weight, bias_of(9, dtype, True))
    called = []

    def spied(name):
        kernel = getattr(sparse_ops, f"{name}_cuda")
        monkeypatch.setattr(sparse_ops, name, lambda *given: called.append(name) or kernel(*given))

    spied("_gap"), spied("_written")
    check(layer, weight, inputs((n_rows,), 2048, dtype))
    assert called == ["_gap" if n_rows <= GAP_ROWS else "_written"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows, columns", [(32, 64), (64, 448)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_two_of_four_layer_is_the_dense_product(dtype, rows, columns, has_bias):
    weight = pairs(rows, columns, dtype)
    layer = two_of_four_linear(weight, bias_of(rows, dtype, has_bias), dtype, CPU)
    assert isinstance(layer, TwoOfFourLinear), layer
    for shape in ROWS:
        check(layer, weight, inputs(shape, columns, dtype))
    assert torch.equal(layer.dequantised(dtype), weight)


@pytest.mark.parametrize("kept", [torch.float16, torch.bfloat16])
def test_activations_of_another_dtype_meet_the_two_of_four_matrix_written_out(kept):
    weight = pairs(32, 64, kept)
    layer = two_of_four_linear(weight, None, kept, CPU)
    for dtype in {torch.float32, torch.bfloat16, torch.float16} - {kept}:
        x = inputs((5,), 64, dtype)
        assert torch.equal(layer(x), nn.functional.linear(x, weight.to(dtype)))


def test_layers_take_the_bytes_that_they_should_and_a_call_leaves_nothing_behind():
    weight, bias = draw(50, 4096, 0.3, torch.bfloat16), bias_of(50, torch.bfloat16, True)
    layer = gaps(weight, bias)
    blocks = int(-((weight != 0).sum(1) // -BLOCK).sum())  # no gap here is as wide as to need a bridge
    assert tensor_bytes(layer) == BLOCK * 5 // 2 * blocks + 4 * 51 + 100 == layer.matrix.size_bytes + 100
    assert tensor_bytes(layer) < 0.45 * weight.nbytes
    two = two_of_four_linear(pairs(64, 128, torch.bfloat16), None, torch.bfloat16, CPU)
    assert tensor_bytes(two) == 64 * 128 * 9 // 8
    for each, columns in ((layer, 4096), (two, 128)):
        held = tensor_bytes(each)
        for n_rows in (1, 40):
            each(inputs((n_rows,), columns, torch.bfloat16))
        assert tensor_bytes(each) == held and packed_layers(each) == [each]
        assert not [name for name in each.state_dict() if name != "bias"]
        assert f"in_features={columns}" in repr(each)
    assert n_parameters(layer) == 50 * 4096 + 50 and n_parameters(two) == 64 * 128


def test_layers_reach_their_device_whole():
    """On a device without memory every tensor has to have come along, and torch checks shapes and dtypes."""
    made = [
        (gaps(draw(50, 4096, 0.3, torch.bfloat16), bias_of(50, torch.bfloat16, True)), 50, 4096),
        (two_of_four_linear(pairs(64, 128, torch.bfloat16), bias_of(64, torch.bfloat16, True), torch.bfloat16, CPU),
         64, 128),
    ]  # fmt: skip
    for layer, rows, columns in made:
        layer = layer.to("meta")
        assert {t.device.type for t in (*layer.parameters(), *layer.buffers())} == {"meta"}
        assert not [name for name, value in vars(layer).items() if isinstance(value, torch.Tensor)]
        for n_rows in (1, 30):
            y = layer(torch.empty(n_rows, columns, dtype=torch.bfloat16, device="meta"))
            assert y.shape == (n_rows, rows) and y.device.type == "meta" and y.dtype == torch.bfloat16


def test_what_gap_coding_does_not_pay_for_or_cannot_hold_gives_its_reason():
    assert "more than 75 %" in gaps(draw(40, 2048, 0.6, torch.bfloat16))
    assert "more than 75 %" in gaps(draw(40, 100, 0.4, torch.bfloat16)), "rows are filled up to blocks of 256"
    assert isinstance(gaps(draw(40, 2048, 0.6, torch.float32).bfloat16(), dtype=torch.float32), GapLinear)
    weight = draw(40, 2048, 0.5, torch.bfloat16)
    assert "float16 holds less well" in gaps(weight * 1e6) and "float16 holds less well" in gaps(weight * 1e-6)
    assert "float16 holds less well" in gaps(draw(40, 2048, 0.5, torch.float32))


def test_what_torch_does_not_take_as_two_of_four_gives_its_reason(monkeypatch):
    def why(weight, dtype=torch.float16):
        return two_of_four_linear(weight, None, dtype, CPU)

    assert "take no float32" in why(pairs(32, 64, torch.float32), torch.float32)
    assert "no matrix of (31, 64)" in why(pairs(32, 64, torch.float16)[:31])
    assert "not 2:4" in why(draw(32, 64, 0.5, torch.float16))

    def broken(weight):
        raise RuntimeError("cuSPARSELt not supported on your machine.\nmore")

    monkeypatch.setattr("llmc.kernels.gpu_sparse.TwoOfFour.of", broken)
    assert why(pairs(32, 64, torch.float16)) == (
        "torch makes no 2:4 matrix on this device (cuSPARSELt not supported on your machine.)"
    )


def test_a_layer_that_was_converted_to_another_dtype_keeps_its_bits():
    weight = pairs(32, 64, torch.bfloat16)
    layer = two_of_four_linear(weight, None, torch.bfloat16, CPU)
    before = layer.matrix.packed.clone()
    for dtype in (torch.float16, torch.float32, torch.bfloat16):
        layer = layer.to(dtype)
        assert torch.equal(layer.matrix.packed.view(torch.int16), before.view(torch.int16))
        check(layer, weight, inputs((3,), 64, dtype))
    weight = draw(20, 2048, 0.3, torch.bfloat16)
    layer = gaps(weight).float()
    check(layer, weight, inputs((2,), 2048, torch.float32))


@pytest.mark.parametrize("n_rows", [1, 5])
def test_the_layers_compile_as_one_graph(n_rows):
    made = [
        (gaps(draw(20, 2048, 0.3, torch.float16), bias_of(20, torch.float16, True)), 2048),
        (two_of_four_linear(pairs(32, 64, torch.float16), bias_of(32, torch.float16, True), torch.float16, CPU), 64),
    ]
    for layer, columns in made:
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        x = inputs((n_rows,), columns, torch.float16)
        with torch.no_grad():
            assert torch.equal(compiled(x), layer(x))
