"""The memory that unpacked matrices share: it never mixes up what is in use."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from llmc.kernels.cpu_sparse import CsrLinear
from llmc.kernels.packed_linear import PackedLinear
from llmc.kernels.scratch import scratch
from llmc.kernels.sparse_linear import SparseLinear
from llmc.ops.bitmask import Bitmask
from llmc.ops.codes import Codes

CPU = torch.device("cpu")


def packed(rows: int, columns: int) -> PackedLinear:
    codes = torch.randint(0, 16, (rows, columns), dtype=torch.uint8)
    groups = columns // 32
    zero = torch.randint(0, 16, (rows, groups), dtype=torch.uint8)
    return PackedLinear(Codes(codes=codes, scale=torch.rand(rows, groups), zero=zero, bits=4))


def sparse(rows: int, columns: int, kind: type[nn.Module]) -> nn.Module:
    weight = torch.randn(rows, columns).masked_fill(torch.rand(rows, columns) < 0.9, 0)
    return kind(Bitmask.of(weight))


def test_matrices_of_one_thread_lie_in_the_same_memory_and_it_grows_with_them():
    with torch.no_grad():
        small, large = scratch((3, 5), torch.float32, CPU), scratch((70, 80), torch.float64, CPU)
        again = scratch((5, 3), torch.bfloat16, CPU)
    assert (small.shape, large.shape, again.shape) == ((3, 5), (70, 80), (5, 3))
    assert (small.dtype, large.dtype, again.dtype) == (torch.float32, torch.float64, torch.bfloat16)
    assert again.data_ptr() == large.data_ptr() and large.is_contiguous()


def test_each_thread_has_its_own():
    found = []

    def ask() -> None:
        with torch.no_grad():
            found.append(scratch((64, 64), torch.float32, CPU))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0].data_ptr() != found[1].data_ptr()


def test_what_inference_mode_began_can_be_written_outside_it():
    with ThreadPoolExecutor(1) as fresh:  # a new thread begins without memory
        with torch.inference_mode():
            fresh.submit(_written, torch.inference_mode).result()
        assert fresh.submit(_written, torch.no_grad).result() == 1


def _written(mode) -> float:
    with mode():
        return float(scratch((300, 300), torch.float32, CPU).fill_(1).mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_that_take_turns_give_what_each_gives_alone(dtype):
    torch.manual_seed(0)
    layers = [packed(48, 64), sparse(64, 48, SparseLinear), packed(32, 64), sparse(64, 32, CsrLinear)]
    x = torch.randn(700, 64).to(dtype)  # more rows than CSR takes
    expected = x
    for layer in layers:
        expected = nn.functional.linear(expected, layer.dequantised(dtype))
    with torch.no_grad():
        for _ in range(2):
            y = x
            for layer in layers:
                y = layer(y)
            assert torch.equal(y, expected)


def test_a_backward_pass_finds_each_matrix_as_it_was():
    torch.manual_seed(0)
    first, second = packed(48, 64), sparse(64, 48, SparseLinear)
    x = torch.randn(5, 64, requires_grad=True)
    second(first(x)).sum().backward()
    weights = second.dequantised(torch.float32) @ first.dequantised(torch.float32)
    torch.testing.assert_close(x.grad, weights.sum(0).expand(5, 64))
