"""Linear layers of packed codes against the product with the dequantised weight."""

import pytest
import torch
from torch import nn

from llmc.kernels import cpu_int4, cpu_linear
from llmc.kernels.cpu_linear import CpuPackedLinear, Int4Part, Int8Part, cpu_packed_linear
from llmc.kernels.fast_linear import fast_linear
from llmc.kernels.packed_linear import PackedLinear
from llmc.ops.codes import Codes
from tests.ops.test_codes import make

VECTORISED = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
needs_vectors = pytest.mark.skipif(not VECTORISED, reason="this CPU has no vectorised packed products")


def inputs(n, columns, *, lean=0.0, dtype=torch.bfloat16):
    return (torch.randn(n, columns, generator=torch.Generator().manual_seed(7)) + lean).to(dtype)


def exactly(codes, x, bias=None):
    y = x.double() @ codes.dequantised(torch.float64).T
    return y if bias is None else y + bias.double()


def relative(found, exact):
    return float(((found.double() - exact).norm() / exact.norm()).detach())


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_exact_layer_is_the_dense_layer_bit_for_bit(bits, symmetric, shuffled, dtype):
    codes = make(bits, 40, 96, 3, symmetric=symmetric, shuffled=shuffled)
    bias = nn.Parameter(torch.randn(40).to(dtype))
    layer, dense = PackedLinear(codes, bias), nn.Linear(96, 40)
    dense.weight, dense.bias = nn.Parameter(codes.dequantised(dtype)), bias
    x = torch.randn(2, 5, 96).to(dtype)
    with torch.no_grad():
        assert torch.equal(layer(x), dense(x))
    assert layer.state_dict().keys() == {"bias"}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_packed_layer_takes_its_codes_and_nothing_more(bits):
    rows, columns, groups = 128, 512, 4
    layer = PackedLinear(make(bits, rows, columns, groups))
    n_bytes = sum(buffer.untyped_storage().nbytes() for buffer in layer.buffers())
    assert n_bytes <= rows * columns * bits / 8 + rows * groups * (2 + 1) + 8 * rows
    assert all(t.numel() < rows * columns for t in layer.buffers() if t.is_floating_point())
    assert layer.n_weights == rows * columns


@needs_vectors
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4, 16])
@pytest.mark.parametrize("n", [1, 3, 90])
def test_the_fast_layer_is_within_bfloat16_of_the_dequantised_product(bits, symmetric, groups, n):
    codes = make(bits, 100, 512, groups, symmetric=symmetric)
    layer = cpu_packed_linear(codes, None)
    assert isinstance(layer, CpuPackedLinear)
    x = inputs(n, 512)
    found = layer(x)
    assert found.shape == (n, 100) and found.dtype == torch.bfloat16
    assert relative(found, exactly(codes, x)) <= 4e-3


@needs_vectors
@pytest.mark.parametrize("bits, middle", [(2, 1), (3, 3), (4, 3), (8, 131), (8, 99), (8, 101)])
@pytest.mark.parametrize("n", [1, 90])
def test_offsets_are_not_rounded_away_where_activations_lean(bits, middle, n):
    """Weights about 0 from codes about an odd zero point, inputs with a mean of 2: a rounded offset would add up."""
    made = make(bits, 64, 1024, 1 if middle == 101 else 8)
    reach = 80 if bits == 8 else 1
    spread = torch.randint(-reach, reach + 1, (64, 1024), generator=torch.Generator().manual_seed(5))
    zero = torch.full_like(made.zero, middle)
    codes = Codes(codes=(spread + middle).to(torch.uint8), scale=made.scale, zero=zero, bits=bits)
    x = inputs(n, 1024, lean=2.0)
    assert relative(cpu_packed_linear(codes, None)(x), exactly(codes, x)) <= 4e-3


@needs_vectors
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_act_order_is_a_permutation_of_the_inputs(bits):
    codes = make(bits, 64, 256, 4, shuffled=True)
    x = inputs(2, 256)
    assert relative(cpu_packed_linear(codes, None)(x), exactly(codes, x)) <= 4e-3


@needs_vectors
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_every_input_meets_its_own_column(bits):
    codes = make(bits, 64, 128, 4, dtype=torch.bfloat16)
    layer = cpu_packed_linear(codes, None)
    eye = torch.eye(128).bfloat16()
    columns = torch.cat([layer(eye[:8]), layer(eye[8:])])  # by the packed product, and by unpacking
    assert (columns.T.float() - codes.dequantised(torch.float32)).abs().max() <= 2e-2 * 2**bits


@needs_vectors
def test_other_dtypes_are_rounded_on_the_way_in_and_restored():
    codes = make(4, 48, 128, 4)
    bias = nn.Parameter(torch.randn(48))
    layer = cpu_packed_linear(codes, bias)
    x = inputs(6, 128, dtype=torch.float32).view(2, 3, 128)
    found = layer(x)
    assert found.dtype == torch.float32 and found.shape == (2, 3, 48)
    assert relative(found.view(6, 48), exactly(codes, x.view(6, 128), bias)) <= 4e-3
    assert layer(x[:0]).shape == (0, 3, 48)


@needs_vectors
def test_many_rows_and_few_agree(monkeypatch):
    codes = make(4, 130, 256, 4)
    layer, x = cpu_packed_linear(codes, None), inputs(10, 256)
    few = layer(x)
    layer.many_rows = 1
    monkeypatch.setattr(cpu_linear, "WEIGHTS_AT_A_TIME", 1)
    many = layer(x)
    assert not torch.equal(few, torch.zeros_like(few)) and relative(many, few.double()) <= 4e-3
    monkeypatch.setattr(cpu_int4, "layout", lambda: None)  # a machine of an unknown order takes the product always
    assert torch.equal(layer(x), few)


@needs_vectors
@pytest.mark.parametrize(
    "bits, groups, n_bits, kinds",
    [
        (2, 4, 4, [Int4Part]),
        (3, 4, 4, [Int4Part]),
        (4, 4, 4, [Int4Part]),
        (8, 4, 8, [Int4Part] * 2),
        (8, 1, 8, [Int8Part]),
    ],
)
def test_the_fast_layer_takes_the_bits_it_says(bits, groups, n_bits, kinds):
    layer = cpu_packed_linear(make(bits, 128, 512, groups, symmetric=True), None)
    assert [type(part) for part in layer.parts] == kinds
    n_bytes = sum(buffer.untyped_storage().nbytes() for buffer in layer.buffers())
    assert n_bytes <= 128 * 512 * n_bits / 8 + len(kinds) * 4 * 128 * 4
    assert all(t.numel() < 128 * 512 for t in layer.buffers() if t.is_floating_point())


@needs_vectors
@pytest.mark.parametrize(
    "columns, groups, bits, words", [(64, 4, 4, "groups of 16"), (40, 1, 8, "groups of 40"), (40, 1, 4, "groups of 40")]
)
def test_what_has_no_product_gives_its_reason(columns, groups, bits, words):
    assert words in cpu_packed_linear(make(bits, 16, columns, groups), None)


def test_uneven_groups_another_cpu_and_another_device_give_their_reasons(monkeypatch):
    even = make(4, 16, 64, 2)
    uneven = Codes(codes=even.codes, scale=even.scale, zero=even.zero, bits=4, group=(torch.arange(64) > 20).long())
    if VECTORISED:
        assert "equal ones" in cpu_packed_linear(uneven, None)
    assert "xpu" in fast_linear(even, None, torch.device("xpu"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert "DEFAULT" in cpu_packed_linear(even, None)
