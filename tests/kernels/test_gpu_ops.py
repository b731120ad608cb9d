"""The operators: registered as torch wants them, importable without triton and without a GPU, off unless asked for."""

import subprocess
import sys

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels import gpu_ops, gpu_setting
from llmc.kernels.pack import planar
from llmc.kernels.reference import dequantised


@pytest.fixture
def weight():
    codes = torch.randint(0, 16, (24, 256), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return planar(codes, torch.full((24, 2), 0.01), torch.full((24, 2), 7), bits=4, group_size=128)


def test_the_operator_passes_torchs_own_checks(weight):
    fields = (weight.gain, 4, 128, weight.step_words, 24, 256)
    arguments = (torch.randn(2, 3, 256), weight.words, weight.scale, weight.zero, *fields)
    torch.library.opcheck(torch.ops.llmc.wq_matmul, arguments)
    symmetric = (torch.randn(256), weight.words, weight.scale, None, *fields)
    torch.library.opcheck(torch.ops.llmc.wq_matmul, symmetric)


def test_on_a_cpu_the_operator_is_the_product_with_the_dequantised_matrix(weight):
    x = torch.randn(5, 256)
    torch.testing.assert_close(gpu_ops.wq_matmul(x, weight), (x.double() @ dequantised(weight).T).float())


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


def test_importing_the_operators_does_not_import_triton():
    code = "import sys, llmc.kernels.gpu_ops, llmc.kernels.pack; sys.exit('llmc.kernels._triton_compat' in sys.modules)"
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
