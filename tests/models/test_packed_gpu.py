"""Checkpoints loaded into the layers that a GPU gets, moved nowhere: their operator's reference computes here."""

import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmc.compress.formats.awq import FORMAT as AWQ
from llmc.compress.formats.compressed_tensors import FORMAT as COMPRESSED_TENSORS
from llmc.compress.formats.gptq import FORMAT as GPTQ
from llmc.compress.formats.gptq_v2 import FORMAT as GPTQ_V2
from llmc.kernels import gpu_setting
from llmc.kernels.gpu_linear import GpuPackedLinear
from llmc.kernels.packed_linear import PackedLinear
from llmc.models import packed
from llmc.models.load import load_model
from llmc.models.memory import n_parameters, packed_layers, tensor_bytes
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint


@pytest.fixture
def in_use(monkeypatch):
    monkeypatch.setattr(gpu_setting, "in_use", lambda device: True)


def quantise(model, **grid):
    return {name: round_to_nearest(module.weight.data, **grid) for name, module in block_linears(model).items()}


def in_float32(reference, layers, group_size):
    """The dequantised model without the rounding of its weights to bfloat16."""
    reference = reference.float()
    for name, layer in layers.items():
        grid = layer.quantised
        size = layer.weight.shape[1] if group_size == -1 else group_size
        scale, zero = (each.float().repeat_interleave(size, 1) for each in (grid.scale, grid.zero))
        reference.get_submodule(name).weight.data = (grid.codes.float() - zero) * scale
    return reference


@pytest.mark.parametrize("fmt, bits, symmetric", [
    *((COMPRESSED_TENSORS, bits, symmetric) for bits in (2, 3, 4, 8) for symmetric in (True, False)),
    *((GPTQ, bits, True) for bits in (2, 3, 4, 8)), (GPTQ_V2, 4, False), (AWQ, 4, True), (AWQ, 4, False),
], ids=lambda v: getattr(v, "name", str(v)))  # fmt: skip
@pytest.mark.parametrize("group_size", [-1, 64])
def test_a_whole_model_has_the_logits_of_its_dequantised_one(in_use, tmp_path, fmt, bits, symmetric, group_size):
    model = make_llama(torch.bfloat16)
    layers = quantise(model, bits=bits, group_size=group_size, symmetric=symmetric)
    reference = in_float32(write_checkpoint(tmp_path, model, fmt, layers), layers, group_size)
    loaded = load_model(tmp_path, kernels="fast", dtype=torch.float32)
    assert len(packed_layers(loaded)) == len(layers) == 14
    assert all(type(layer) is GpuPackedLinear for layer in packed_layers(loaded))
    exact = logits(reference)
    assert (logits(loaded) - exact).norm() <= 1e-5 * exact.norm()
    assert (logits(model) - exact).norm() > 1e-3 * exact.norm()
    in_bfloat16 = load_model(tmp_path, kernels="fast")
    assert in_bfloat16.dtype == torch.bfloat16
    assert (logits(in_bfloat16) - exact).norm() <= 0.03 * exact.norm()


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_loaded_model_takes_the_bytes_of_its_codes_in_whole_tiles(in_use, tmp_path, bits):
    model = make_llama(torch.bfloat16)
    write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model, bits=bits, group_size=64))
    loaded = load_model(tmp_path, kernels="fast")
    n_packed = sum(module.weight.numel() for module in block_linears(model).values())
    # Outputs are filled up to 128 and inputs to whole steps of 128 or 256.
    filled = sum(
        -(-rows // 128) * 128 * -(-columns // (128 if bits == 8 else 256)) * (128 if bits == 8 else 256)
        for rows, columns in (module.weight.shape for module in block_linears(model).values())
    )
    others = tensor_bytes(model) - 2 * n_packed
    assert tensor_bytes(loaded) <= others + filled * bits // 8 + 2 * filled // 64
    assert n_parameters(loaded) == n_parameters(model)
    held = tensor_bytes(loaded)
    logits(loaded)
    assert tensor_bytes(loaded) == held and not [name for name in loaded.state_dict() if "proj" in name]


def test_an_act_order_file_of_others_is_computed_rightly(in_use, tmp_path):
    model = make_llama(torch.bfloat16)
    layers = quantise(model, group_size=64)
    reference = write_checkpoint(tmp_path, model, GPTQ, layers).float()
    state = load_file(tmp_path / "model.safetensors")
    draws = torch.Generator().manual_seed(3)
    for name, layer in layers.items():
        g_idx = torch.randperm(layer.weight.shape[1], generator=draws) % layer.quantised.scale.shape[1]
        state[f"{name}.g_idx"] = g_idx.int()
        value = (layer.quantised.codes.float() - 8) * layer.quantised.scale.float()[:, g_idx]
        reference.get_submodule(name).weight.data = value
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    exact = logits(reference)
    assert (logits(load_model(tmp_path, kernels="fast", dtype=torch.float32)) - exact).norm() <= 1e-5 * exact.norm()


def test_without_the_variable_a_gpu_unpacks_in_every_call_and_says_why(monkeypatch, tmp_path, caplog):
    """The loader is told of a CUDA device; the model stays where it was made."""
    monkeypatch.delenv("LLMC_GPU_KERNELS", raising=False)
    told = packed.packed_options
    monkeypatch.setattr("llmc.models.load.packed_options", lambda path, kernels, device: told(path, kernels, "cuda"))
    model = make_llama(torch.bfloat16)
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model, group_size=64))
    with caplog.at_level(logging.WARNING, logger="llmc"):
        loaded = load_model(tmp_path, kernels="fast")
    assert all(type(layer) is PackedLinear for layer in packed_layers(loaded))
    assert torch.equal(logits(loaded), logits(reference))
    assert [r.message for r in caplog.records] == [
        "14 of 14 packed matrices are unpacked in every call: the GPU kernels are off until their gates have passed on "
        "a device (LLMC_GPU_KERNELS=on turns them on)"
    ]
