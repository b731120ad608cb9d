"""Pruned checkpoints loaded into the layers that a GPU gets, moved nowhere: references of their operators compute."""

import logging

import pytest
import torch

from llmc.kernels import fast_sparse, gpu_setting
from llmc.kernels.gpu_sparse import GapLinear, TwoOfFourLinear
from llmc.kernels.sparse_linear import SparseLinear
from llmc.models import sparse
from llmc.models.load import load_model
from llmc.models.memory import n_parameters, packed_layers, tensor_bytes
from tests.compress.formats.checkpoints import IDS, block_linears, logits, make_llama
from tests.models.test_sparse import prune, same_bits

HIDDEN = 512  # rows are filled up to 256 entries, so tiny ones save nothing


@pytest.fixture(autouse=True)
def nothing_timed(monkeypatch):
    monkeypatch.setattr(fast_sparse, "_won", {})


@pytest.fixture
def in_use(monkeypatch):
    monkeypatch.setattr(gpu_setting, "in_use", lambda device: True)


@pytest.fixture
def told_cuda(monkeypatch):
    """The loader is told of a CUDA device; the model stays where it was made."""
    told = sparse.sparse_options
    monkeypatch.setattr("llmc.models.load.sparse_options", lambda path, kernels, device: told(path, kernels, "cuda"))


def pruned(folder, how, dtype=torch.bfloat16):
    model = prune(make_llama(dtype, hidden=HIDDEN), how)
    model.save_pretrained(folder)
    return model


def decoded(model):
    """Logits of one token at a time, which are products with one row of x."""
    with torch.no_grad():
        first = model(IDS[:1, :4], use_cache=True)
        return model(IDS[:1, 4:5], past_key_values=first.past_key_values).logits.float()


def near(model, other, bound):
    for logits_of in (logits, decoded):
        wanted = logits_of(other)
        assert (logits_of(model).float() - wanted).norm() <= bound * wanted.norm()


@pytest.mark.parametrize("density", [0.1, 0.3])
@pytest.mark.parametrize("dtype, bound", [(None, 0.03), (torch.float32, 1e-5)])
def test_unstructured_zeros_are_multiplied_as_gaps(in_use, tmp_path, caplog, density, dtype, bound):
    model = pruned(tmp_path, density)
    with caplog.at_level(logging.INFO, logger="llmc"):
        loaded = load_model(tmp_path, kernels="fast", dtype=dtype)
    dense = load_model(tmp_path, kernels="dense", dtype=dtype)
    assert [type(layer) for layer in packed_layers(loaded)] == [GapLinear] * 14
    near(loaded, dense, bound)
    coded = sum(layer.matrix.size_bytes for layer in packed_layers(loaded))
    whole = sum(module.weight.numel() for module in block_linears(model).values()) * dense.dtype.itemsize
    assert tensor_bytes(loaded) == tensor_bytes(dense) - whole + coded and coded < 0.75 * whole
    assert n_parameters(loaded) == n_parameters(dense) and not [k for k in loaded.state_dict() if "proj" in k]
    assert [r.message for r in caplog.records] == [
        f"14 pruned matrices are held without zeros, {(whole - coded) / 1e6:.1f} MB less than dense, and multiplied so"
    ]


@pytest.mark.parametrize("wins", [True, False])
def test_two_of_four_takes_nine_sixteenths_where_torchs_product_wins(monkeypatch, in_use, tmp_path, wins):
    monkeypatch.setattr(fast_sparse, "faster", lambda other, product, x: wins)
    model = pruned(tmp_path, "2:4")
    loaded, dense = (load_model(tmp_path, kernels=kernels) for kernels in ("fast", "dense"))
    assert [type(layer) for layer in packed_layers(loaded)] == [TwoOfFourLinear if wins else GapLinear] * 14
    near(loaded, dense, 0.03)
    if wins:
        whole = sum(module.weight.nbytes for module in block_linears(model).values())
        assert tensor_bytes(loaded) == tensor_bytes(dense) - whole * 7 // 16


def test_zeros_by_a_product_with_a_mask_are_zeros(in_use, tmp_path):
    """They are -0.0 for negative weights, and half of the zeros would count as kept."""
    model = make_llama(torch.bfloat16, hidden=HIDDEN)
    for module in block_linears(model).values():
        module.weight.data *= torch.rand(module.weight.shape, generator=torch.manual_seed(0)) < 0.3
    model.save_pretrained(tmp_path)
    assert len(packed_layers(load_model(tmp_path, kernels="fast"))) == 14


def test_what_has_no_fast_form_is_held_dense_and_counted_with_its_reason(in_use, tmp_path, caplog):
    model = make_llama(torch.bfloat16, hidden=HIDDEN)
    for name, module in block_linears(model).items():
        kind = name.rpartition(".")[2]
        density = {"q_proj": 0.62, "k_proj": 0.3, "down_proj": 0.3}.get(kind, 1.0)
        module.weight.data[torch.rand(module.weight.shape, generator=torch.manual_seed(0)) >= density] = 0
        if kind == "down_proj":
            module.weight.data *= 1e-6
    model.save_pretrained(tmp_path)
    loaded = load_model(tmp_path, kernels="fast")
    assert [name.rpartition(".")[2] for name, m in loaded.named_modules() if isinstance(m, GapLinear)] == ["k_proj"] * 2
    near(loaded, load_model(tmp_path, kernels="dense"), 0.03)
    assert sorted(record.message for record in caplog.records) == [
        "2 pruned matrices are held dense, zeros and all: as values and gaps they would take more than 75 % of their "
        "bytes",
        "2 pruned matrices are held dense, zeros and all: weights that float16 holds less well than the model's dtype, "
        "and gap coding has float16 values",
    ]


def test_without_the_variable_a_gpu_holds_them_dense_and_says_why(monkeypatch, told_cuda, tmp_path, caplog):
    monkeypatch.delenv("LLMC_GPU_KERNELS", raising=False)
    pruned(tmp_path, 0.1)
    with caplog.at_level(logging.WARNING, logger="llmc"):
        loaded = load_model(tmp_path, kernels="fast")
    assert not packed_layers(loaded) and same_bits(loaded, load_model(tmp_path, kernels="dense"))
    assert [r.message for r in caplog.records] == [
        "14 pruned matrices are held dense, zeros and all: the GPU kernels are off until their gates have passed on a "
        "device (LLMC_GPU_KERNELS=on turns them on)"
    ]


def test_exact_needs_no_variable_and_reaches_the_device_whole(monkeypatch, told_cuda, tmp_path):
    monkeypatch.delenv("LLMC_GPU_KERNELS", raising=False)
    pruned(tmp_path, "2:4")
    loaded = load_model(tmp_path)
    assert [type(layer) for layer in packed_layers(loaded)] == [SparseLinear] * 14
    assert same_bits(loaded, load_model(tmp_path, kernels="dense"))
    loaded = loaded.to("meta")
    assert {t.device.type for layer in packed_layers(loaded) for t in layer.buffers()} == {"meta"}
    assert loaded(torch.empty(2, 5, dtype=torch.int64, device="meta")).logits.shape == (2, 5, 128)
