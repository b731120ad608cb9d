"""What prunes chooses by torch on a CPU, and by the kernels, with the same masks, where they are in use."""

import pytest
import torch

from llmc.compress.method import LayerStats
from llmc.compress.methods.magnitude import Magnitude
from llmc.compress.methods.sparsegpt import SparseGPT
from llmc.compress.methods.wanda import Wanda
from llmc.compress.shared.pruning import kept
from llmc.kernels import choose, gpu_setting, select
from llmc.kernels import sweep as dispatch
from llmc.ops import masks
from llmc.ops.masks import Pattern


@pytest.fixture
def asked(monkeypatch):
    """How often the kernels were asked."""
    counts = {}

    def counted(name, kernel):
        def call(*arguments, **how):
            counts[name] = counts.get(name, 0) + 1
            return kernel(*arguments, **how)

        return call

    for name in ("drop_lowest", "keep_n_of_m"):
        monkeypatch.setattr(select, name, counted(name, getattr(select, name)))
    return counts


@pytest.fixture
def in_use(monkeypatch):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    monkeypatch.setattr(gpu_setting, "in_use", lambda device: True)
    monkeypatch.setattr(dispatch, "fits", lambda settings: False)  # the plain sweep asks for choices more often


def tied(rows=6, width=64, seed=0):
    return torch.randint(0, 5, (rows, width), generator=torch.Generator().manual_seed(seed)).float()


def stats(width):
    x = torch.randn(4 * width, width, generator=torch.Generator().manual_seed(1))
    return LayerStats(n_tokens=len(x), gram=x.T @ x, sq_norm=x.square().sum(0))


METHODS = [
    *(method(sparsity=0.4) for method in (Magnitude, Wanda, SparseGPT)),
    *(method(pattern="2:4") for method in (Magnitude, Wanda, SparseGPT)),
]
KEEPS = [None, torch.rand(6, 64, generator=torch.Generator().manual_seed(2)) > 0.2]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: f"{m.name} {m.pattern or m.sparsity}")
@pytest.mark.parametrize("keep", KEEPS, ids=["whole", "pruned before"])
def test_every_pruning_method_gives_the_masks_of_the_cpu_through_the_kernels(method, keep, asked, request):
    weight = tied() - 2.0
    plain = method.compress(weight, stats(64), keep)
    assert not asked
    request.getfixturevalue("in_use")
    through = method.compress(weight, stats(64), keep)
    assert asked
    assert torch.equal(through.keep, plain.keep) and torch.equal(through.weight, plain.weight)


def test_on_a_cpu_nothing_changes_whatever_the_variable_says(monkeypatch, asked):
    for said in ("off", "on"):
        monkeypatch.setenv("LLMC_GPU_KERNELS", said)
        assert torch.equal(choose.drop_lowest(tied(), 0.5), masks.drop_lowest(tied(), 0.5))
        assert torch.equal(choose.keep_n_of_m(tied(), Pattern(2, 4)), masks.keep_n_of_m(tied(), Pattern(2, 4)))
    assert not asked


def test_a_pattern_that_no_kernel_takes_is_chosen_by_torch(in_use, asked):
    score = tied(6, 60)
    assert torch.equal(choose.keep_n_of_m(score, Pattern(1, 3)), masks.keep_n_of_m(score, Pattern(1, 3)))
    assert not asked
    choose.keep_n_of_m(score, Pattern(1, 4))
    assert asked == {"keep_n_of_m": 1}


def test_rows_wider_than_a_program_are_chosen_alike(in_use, monkeypatch):
    monkeypatch.setattr(select, "WIDEST_ROW", 32)
    keep = torch.rand(6, 64, generator=torch.Generator().manual_seed(3)) > 0.3
    for before in (None, keep):
        by_kernels = kept(tied(), 0.5, None, before)
        plain = masks.drop_lowest(tied() if before is None else tied().masked_fill(~before, -1.0), 0.5)
        assert torch.equal(by_kernels, plain if before is None else plain & before)
