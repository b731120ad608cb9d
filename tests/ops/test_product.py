"""Float32 products by either library, against float64, with the choice forced: it depends on the machine."""

from unittest import mock

import pytest
import torch

from llmc.compress import manifest
from llmc.evaluate import provenance
from llmc.ops import product
from llmc.ops.accumulate import add_gram_, mirror_
from llmc.ops.product import LEAST, add_product_, by_onednn, linear

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN, which is one of the two ways"
)
pytestmark = needs_onednn


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch"])
def chosen(request, monkeypatch):
    """Whether large products go to oneDNN; the fixture's value, and a count of those that did."""
    monkeypatch.setattr(product, "_mkl_holds_back", lambda: request.param)
    return request.param


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def went_to_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    with mock.patch.object(torch.nn.functional, "linear", side_effect=RuntimeError("torch's own")):
        try:
            linear(x, weight, bias)
        except RuntimeError:
            return False
    return True


@pytest.mark.parametrize("shape", [(64, 128, 128), (1, 2048, 600), (3, 7, 5), (5, 160, 1500), (0, 4096, 300)])
@pytest.mark.parametrize("biased", [True, False])
def test_products_are_those_of_float64(chosen, shape, biased):
    rows, width, outputs = shape
    x, weight, bias = random(rows, width), random(outputs, width, seed=1), random(outputs, seed=2) if biased else None
    exact = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
    torch.testing.assert_close(linear(x, weight, bias).double(), exact, rtol=1e-5, atol=1e-4 * width**0.5 / 10)
    assert went_to_onednn(x, weight, bias) == (chosen and rows * width * outputs >= LEAST)


def test_leading_dimensions_and_strides_of_any_kind(chosen):
    x, weight = random(2, 40, 3, 256)[:, :, 1], random(512, 256, seed=1)
    exact = x.double() @ weight.double().T
    transposed = weight.T.contiguous().T
    strided = torch.stack([weight, weight], -1)[..., 0]
    for form in (weight, transposed, strided):
        torch.testing.assert_close(linear(x, form).double(), exact, rtol=1e-5, atol=1e-4)
    assert went_to_onednn(x, weight) == went_to_onednn(x, transposed) == chosen
    assert not went_to_onednn(x, strided)


def test_what_onednn_has_no_fast_product_or_derivative_for_stays_with_torch(monkeypatch):
    monkeypatch.setattr(product, "_mkl_holds_back", lambda: True)
    x, weight, bias = random(256, 128), random(128, 128), random(128)
    assert went_to_onednn(x, weight, bias)
    assert not went_to_onednn(x.bfloat16(), weight.bfloat16())
    assert not went_to_onednn(x.double(), weight.double())
    for one in (x, weight, bias):
        one.requires_grad_()
        assert not went_to_onednn(x, weight, bias)
        with torch.no_grad():
            assert went_to_onednn(x, weight, bias)
        one.requires_grad_(False)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not by_onednn() and not went_to_onednn(x, weight)


class Packed(torch.Tensor):
    """A tensor of a type of its own, as libraries make for packed weights: it knows torch's linear and no more."""

    @staticmethod
    def __new__(cls, dense):
        return torch.Tensor._make_wrapper_subclass(cls, dense.shape, dtype=dense.dtype)

    def __init__(self, dense):
        self.dense = dense

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.linear:
            return function(*(each.dense if isinstance(each, cls) else each for each in args), **(kwargs or {}))
        return super().__torch_function__(function, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        raise NotImplementedError(str(function))


@torch.no_grad()
def test_weights_of_a_type_of_their_own_go_to_torch(monkeypatch):
    monkeypatch.setattr(product, "_mkl_holds_back", lambda: True)
    x, weight = random(256, 128), random(128, 128)
    for found in (linear(x, Packed(weight)), linear(Packed(x), weight)):
        torch.testing.assert_close(found, x @ weight.T, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_autocast_has_its_dtype_and_a_wrong_shape_torchs_words(chosen):
    x, weight = random(256, 128), random(128, 128)
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(random(256, 127), weight)


def test_derivatives_are_torchs(chosen):
    weight = random(128, 128).requires_grad_()
    linear(random(256, 128), weight).sum().backward()
    torch.testing.assert_close(weight.grad, random(256, 128).sum(0).expand(128, 128))


@pytest.mark.parametrize("shape", [(700, 900, 300), (700, 900, 100), (3, 5, 4)])
def test_a_product_is_added_in_place(chosen, shape):
    m, n, k = shape
    left, right, total = random(m, k), random(n, k, seed=1), random(m, n, seed=2)
    exact = total.double() + left.double() @ right.double().T
    part = torch.zeros(m, n + 3)[:, 3:].copy_(total)
    add_product_(total, left, right)
    add_product_(part, left, right.T.contiguous().T)
    for found in (total, part):
        torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-4)


def test_a_gram_matrix_of_many_tokens(chosen):
    x = random(700, 300)
    gram = torch.zeros(300, 300)
    add_gram_(gram, x)
    mirror_(gram)
    torch.testing.assert_close(gram.double(), x.double().T @ x.double(), rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(
    ("cpuinfo", "capability", "expected"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\n", "AVX512", True),
        ("processor\t: 0\nvendor_id\t: GenuineIntel\n", "AVX512", False),
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\n", "AVX2", False),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", "AVX512", False),
        (None, "AVX512", False),
    ],
)
def test_the_choice_is_the_machines(monkeypatch, tmp_path, cpuinfo, capability, expected):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(product, "Path", lambda _: file)
    monkeypatch.setattr(product.platform, "processor", lambda: "")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    product._mkl_holds_back.cache_clear()
    try:
        assert by_onednn() is expected
    finally:
        product._mkl_holds_back.cache_clear()


@pytest.mark.parametrize("said", ["oneDNN", "torch"])
def test_manifests_say_which_way_products_go(monkeypatch, said):
    monkeypatch.setattr(product, "_mkl_holds_back", lambda: said == "oneDNN")
    assert provenance.machine("cpu")["float32_products"] == manifest.machine("cpu")["float32_products"] == said
