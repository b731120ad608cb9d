"""2:4 through torch: our own words for what it doesn't take, and the timed check with a clock of our own."""

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels import semi_structured
from llmc.kernels.semi_structured import LEAST_ROWS, TwoOfFour, check_shape, compressed, faster
from llmc.ops.masks import Pattern, keep_n_of_m


def two_of_four(rows, columns, dtype=torch.float16):
    return torch.tensor([1.0, 0.0, -2.0, 0.0], dtype=dtype).repeat(rows, columns // 4)


def test_what_torch_does_not_take_is_refused_in_our_words():
    check_shape(two_of_four(32, 64))
    with pytest.raises(UserError, match="no matrix of"):
        check_shape(two_of_four(33, 64))
    with pytest.raises(UserError, match="no matrix of"):
        check_shape(two_of_four(32, 32))
    with pytest.raises(UserError, match=r"no torch\.int8"):
        check_shape(two_of_four(32, 64, torch.int8))
    with pytest.raises(UserError, match=r"no torch\.float32"):
        check_shape(two_of_four(32, 64, torch.float32))
    with pytest.raises(UserError, match="not 2:4"):
        check_shape(torch.ones(32, 64, dtype=torch.float16))
    with pytest.raises(UserError, match="CUDA"):
        compressed(two_of_four(32, 64))


def test_torch_would_drop_float32_pairs():
    """Why float32 is refused: there torch keeps one of two."""
    weight = torch.tensor([[1.0, 2.0, 0.0, 0.0]]).repeat(32, 16)
    packed, _ = semi_structured.sparse_semi_structured_from_dense_cutlass(weight)
    assert packed.shape == (32, 32) and set(packed.unique().tolist()) < {0.0, 1.0, 2.0}


def random_pairs(rows, columns, dtype):
    draws = torch.Generator().manual_seed(rows)
    weight = torch.randn(rows, columns, generator=draws)
    weight = weight * keep_n_of_m(torch.rand(rows, columns, generator=draws), Pattern(2, 4))
    weight[rows // 2] = 0.0
    weight[1, ::3] = 0.0
    return weight.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows, columns", [(32, 64), (96, 192)])
def test_it_comes_back_bit_for_bit_and_takes_nine_sixteenths(dtype, rows, columns):
    weight = random_pairs(rows, columns, dtype)
    held = TwoOfFour.of(weight)
    assert torch.equal(held.dense(), weight) and (held.n_out, held.n_in) == (rows, columns)
    assert held.packed.nbytes + held.meta.nbytes == weight.numel() * semi_structured.WEIGHT_BYTES


@pytest.mark.parametrize("backend", ["cutlass", "cusparselt"])
@pytest.mark.parametrize("n_rows", [1, 3, 8, 9])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")
def test_torchs_own_type_multiplies_rightly_down_to_its_kernel(monkeypatch, backend, n_rows, has_bias, inference):
    """Its last call, which only a GPU has, is replaced by its definition: filling up, transposing and bias are real."""
    weight = random_pairs(96, 192, torch.float16)
    held = TwoOfFour.of(weight)

    def cutlass(packed, meta, x, bias=0.0):
        assert x.shape[0] % 8 == x.shape[1] % 8 == 0
        return (weight.float() @ x.float() + bias).half()

    def cusparselt(packed, x, bias, transpose_result, alg_id):
        y = cutlass(packed, None, x, 0.0 if bias is None else bias.float()[:, None])
        return y.t() if transpose_result else y

    if backend == "cusparselt":
        held = TwoOfFour(packed=torch.cat([held.packed.ravel(), held.meta.view(torch.float16).ravel()]), meta=None,
                         n_out=96, n_in=192)  # fmt: skip
    monkeypatch.setattr(torch, "_sparse_semi_structured_mm", cutlass)
    monkeypatch.setattr(torch, "_sparse_semi_structured_addmm", lambda b, p, m, x: cutlass(p, m, x, b.float()[:, None]))
    monkeypatch.setattr(torch, "_cslt_sparse_mm", cusparselt)
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(n_rows, 192, generator=draws).half()
    bias = torch.randn(96, generator=draws).half() if has_bias else None
    with torch.inference_mode(inference):
        y = semi_structured.matmul(x, held, bias)
        exact = torch.nn.functional.linear(x.double(), weight.double(), None if bias is None else bias.double())
        assert y.shape == (n_rows, 96) and (y.double() - exact).norm() <= 1e-3 * exact.norm()
        assert torch.equal(held.dense(), weight)


@pytest.mark.parametrize(("dense_s", "sparse_s", "wins"), [(2.0, 1.0, True), (1.0, 2.0, False), (1.0, 1.0, False)])
def test_the_faster_of_the_two_wins_by_the_clock(dense_s, sparse_s, wins):
    clock = [0.0]

    def product(seconds):
        def run(x):
            clock[0] += seconds
            return x

        return run

    x = torch.empty(LEAST_ROWS, 1)
    assert faster(product(dense_s), product(sparse_s), x, clock=lambda: clock[0]) is wins


def test_it_is_not_even_tried_for_few_rows():
    def never(x):
        raise AssertionError

    assert not faster(never, never, torch.empty(LEAST_ROWS - 1, 1))
