"""The operators: registered as torch wants them, importable without triton and without a GPU, off unless asked for."""

import subprocess
import sys

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels import gap_sparse, gpu_ops, gpu_setting, lut, select, select_ops, sparse_ops, sweep_ops
from llmc.kernels.pack import planar
from llmc.kernels.reference import dequantised
from llmc.kernels.semi_structured import TwoOfFour
from llmc.ops import masks
from llmc.ops.factor import feedback
from llmc.ops.grid import fit_grid
from llmc.ops.masks import Pattern
from llmc.ops.sweep import SweepSettings
from llmc.ops.sweep import sweep as plain_sweep


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def codes(rows, columns, seed=0):
    return torch.randint(0, 16, (rows, columns), generator=draw(seed), dtype=torch.uint8)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=draw(seed))


def column_sweep_problem():
    x = normal(256, 64, seed=6)
    weight, factors = normal(12, 64), feedback(x.T @ x, 0.01, descending=True)
    return weight, factors, fit_grid(weight, bits=4, group_size=32, symmetric=False)


def both_ways():
    """Each operator's name -> (a call of its wrapper, what that must give, the arguments of the operator)."""
    x, ties = normal(3, 256), normal(6, 64).mul(2).round()
    grid = planar(codes(24, 256), torch.full((24, 2), 0.01), torch.full((24, 2), 7), bits=4, group_size=128)
    symmetric = planar(codes(24, 256), torch.full((24, 2), 0.01), None, bits=4, group_size=128)
    table = lut.tables(codes(20, 256), normal(20, 1, 16))
    planes = lut.planes_of(normal(3, 20, 256) > 0, normal(3, 20, 2), normal(20, 2), 128)
    sparse = (normal(9, 256, seed=4) * (torch.rand(9, 256, generator=draw(5)) > 0.7)).half()
    gaps = gap_sparse.encode(sparse)
    pruned = (normal(32, 256, seed=7) * masks.keep_n_of_m(normal(32, 256, seed=8), Pattern(2, 4))).half()
    pairs, half, bias = TwoOfFour.of(pruned), x.half(), normal(32).half()
    left, right, cost = normal(20, 5), normal(5, 256), normal(64).abs()
    weight, factors, fitted = column_sweep_problem()
    swept = plain_sweep(weight, factors, SweepSettings(grid=fitted))

    def product(matrix):
        return (x.double() @ matrix.double().T).float()

    def fields(of):
        return (of.gain, of.bits, of.group_size, of.step_words, of.n_out, of.n_in)

    return {
        "wq_matmul": (
            lambda: gpu_ops.wq_matmul(x, grid), product(dequantised(grid)),
            (x, grid.words, grid.scale, grid.zero, *fields(grid)),
        ),
        "wq_matmul symmetric": (
            lambda: gpu_ops.wq_matmul(x[0], symmetric), product(dequantised(symmetric))[0],
            (x[0], symmetric.words, symmetric.scale, None, *fields(symmetric)),
        ),
        "table_matmul": (
            lambda: gpu_ops.table_matmul(x, table), product(lut.dequantised(table)),
            (x, table.words, table.table, 20, 256, 1),
        ),
        "plane_matmul": (
            lambda: gpu_ops.plane_matmul(x, planes), product(lut.dequantised(planes)),
            (x, planes.words, planes.alpha, planes.offset, 128, 20, 256, 1),
        ),
        "gap_matmul": (
            lambda: sparse_ops.gap_matmul(x, gaps), product(sparse),
            (x, gaps.values, gaps.gaps, gaps.starts, gaps.n_in, gaps.reach),
        ),
        "gap_dense": (
            lambda: sparse_ops.gap_dense(gaps, torch.float32), sparse.float(),
            (gaps.values, gaps.gaps, gaps.starts, gaps.n_in, gaps.reach, torch.float32),
        ),
        "two_of_four_matmul": (
            lambda: sparse_ops.two_of_four_matmul(half, pairs, bias),
            (half.double() @ pruned.double().T + bias.double()).half(),
            (half, pairs.packed, pairs.meta, bias, 32, 256),
        ),
        "low_rank_matmul": (lambda: gpu_ops.low_rank_matmul(x, left, right), product(left @ right), (x, left, right)),
        "drop_lowest": (
            lambda: select_ops.drop_lowest(ties, 0.5), masks.drop_lowest(ties, 0.5), (ties, 0.5, None)
        ),
        "drop_lowest cost": (
            lambda: select_ops.drop_lowest(ties, 0.5, cost=cost), masks.drop_lowest(ties.abs() * cost, 0.5),
            (ties, 0.5, cost),
        ),
        "drop_lowest_of_all": (
            lambda: select_ops.drop_lowest_of_all(ties, 0.3),
            masks.drop_lowest(ties.view(1, -1), 0.3).view(6, 64), (ties, 0.3),
        ),
        "keep_n_of_m": (
            lambda: select_ops.keep_n_of_m(ties, Pattern(2, 4)), masks.keep_n_of_m(ties, Pattern(2, 4)),
            (ties, 2, 4, None),
        ),
        "column_sweep": (
            lambda: sweep_ops.column_sweep(weight, factors, grid=fitted).result, swept.result,
            (weight, factors.gain, factors.cost, factors.order, None, fitted.scale, fitted.zero, 4, 32, False, 0, 0),
        ),
        "column_sweep 2:4": (
            lambda: sweep_ops.column_sweep(weight, factors, pattern=Pattern(2, 4)).keep,
            plain_sweep(weight, factors, two_of_four()).keep,
            (weight, factors.gain, factors.cost, factors.order, None, None, None, 0, 0, True, 2, 4),
        ),
    }  # fmt: skip


def two_of_four():
    def select(score):
        return masks.keep_n_of_m(score.T, Pattern(2, 4)).T

    return SweepSettings(select=select, every=4, pattern=Pattern(2, 4))


BOTH_WAYS = both_ways()


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_an_operator_passes_torchs_own_checks(name):
    torch.library.opcheck(getattr(torch.ops.llmc, name.split()[0]), BOTH_WAYS[name][2])


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_on_a_cpu_an_operator_is_its_plain_reference(name):
    call, expected, _ = BOTH_WAYS[name]
    torch.testing.assert_close(call(), expected)


@pytest.mark.parametrize("name", BOTH_WAYS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_an_operator_compiles_in_one_graph(name, backend):
    call, expected, _ = BOTH_WAYS[name]
    torch.testing.assert_close(torch.compile(call, fullgraph=True, backend=backend)(), expected)


KERNELS = {
    "wq_matmul": gpu_ops._wq_cuda, "wq_matmul symmetric": gpu_ops._wq_cuda, "table_matmul": gpu_ops._table_cuda,
    "plane_matmul": gpu_ops._plane_cuda, "gap_matmul": sparse_ops._gap_cuda, "gap_dense": sparse_ops._written_cuda,
    "low_rank_matmul": gpu_ops._low_rank_anywhere, "drop_lowest": select_ops._drop_lowest_cuda,
    "drop_lowest cost": select_ops._drop_lowest_cuda, "drop_lowest_of_all": select.drop_lowest_of_all,
    "keep_n_of_m": select_ops._keep_n_of_m_cuda,
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_what_an_operator_does_on_a_gpu_is_the_same_in_the_interpreter(name):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    _, expected, arguments = BOTH_WAYS[name]
    found = KERNELS[name](*arguments)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if expected.dtype == torch.bool:
        assert torch.equal(found, expected)
    else:
        assert (found - expected).norm() <= 1e-3 * expected.norm()  # x is rounded to float16 on the way


def test_every_operator_is_tested_here():
    ours = {name.removeprefix("llmc::") for name in torch._C._dispatch_get_all_op_names() if name.startswith("llmc::")}
    assert ours == {name.split()[0] for name in BOTH_WAYS}


def test_a_sweep_that_its_kernel_cannot_do_is_refused_in_a_sentence():
    weight, factors, _ = column_sweep_problem()
    problem = (factors.gain, factors.cost, factors.order, None, None, None, 0, 0, True)
    with pytest.raises(UserError, match="not of 32"):
        sweep_ops._sweep_cuda(weight, *problem, 16, 32)


def test_a_two_of_four_product_of_converted_weights_is_refused_in_a_sentence():
    held = TwoOfFour(packed=torch.zeros(32, 32), meta=None, n_out=32, n_in=64)
    with pytest.raises(UserError, match="weights in float16 or bfloat16"):
        sparse_ops.two_of_four_matmul(torch.zeros(1, 64), held)


def test_kernels_import_without_triton_and_without_a_gpu():
    code = (
        "import sys, pathlib, importlib, pkgutil\n"
        "sys.modules['triton'] = None\n"
        "import torch, llmc.kernels, llmc.errors\n"
        "torch.cuda.init = torch.cuda._lazy_init = lambda: sys.exit('a device was asked for at import')\n"
        "for module in pkgutil.walk_packages(llmc.kernels.__path__, 'llmc.kernels.'):\n"
        "    importlib.import_module(module.name)\n"
        "from llmc.kernels.wq_triton import wq_narrow_kernel\n"
        "try:\n"
        "    wq_narrow_kernel[(1,)](1)\n"
        "except llmc.errors.UserError as error:\n"
        "    assert 'pip install triton' in error.hint\n"
        "else:\n"
        "    sys.exit('a kernel ran without triton')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_llmc_and_its_loaders_does_not_import_triton():
    """Only the files of kernels do, and they are imported when one is launched."""
    code = (
        "import sys, pkgutil, importlib, llmc, llmc.kernels\n"
        "for module in pkgutil.iter_modules(llmc.kernels.__path__, 'llmc.kernels.'):\n"
        "    if 'triton' not in module.name:\n"
        "        importlib.import_module(module.name)\n"
        "import llmc.models.load, llmc.compress.methods.gptq, llmc.compress.methods.wanda\n"
        "sys.exit('llmc.kernels.triton_compat' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_kernels_are_off_unless_the_environment_asks_for_them(monkeypatch):
    monkeypatch.delenv("LLMC_GPU_KERNELS", raising=False)
    assert gpu_setting.mode() == "off" and not gpu_setting.in_use(torch.device("cuda"))
    for said, mode in (("1", "on"), ("on", "on"), ("0", "off"), ("magic", "magic")):
        monkeypatch.setenv("LLMC_GPU_KERNELS", said)
        assert gpu_setting.mode() == mode and not gpu_setting.in_use(torch.device("cpu"))
    monkeypatch.setenv("LLMC_GPU_KERNELS", "fast")
    with pytest.raises(UserError, match="off, on or magic"):
        gpu_setting.mode()
