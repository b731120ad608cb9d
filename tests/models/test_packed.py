"""Loading checkpoints of packed layers: bytes in memory, and outputs against the dequantised model."""

import copy
import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import llmc
from llmc.compress.formats.awq import FORMAT as AWQ
from llmc.compress.formats.compressed_tensors import FORMAT as COMPRESSED_TENSORS
from llmc.compress.formats.factors import FORMAT as FACTORS
from llmc.compress.formats.gptq import FORMAT as GPTQ
from llmc.compress.formats.gptq_v2 import FORMAT as GPTQ_V2
from llmc.compress.method import Compressed, Factors
from llmc.errors import UserError
from llmc.kernels.cpu_linear import CpuPackedLinear
from llmc.kernels.onednn_linear import is_plain_linear
from llmc.kernels.packed_linear import PackedLinear
from llmc.models.load import load_model
from llmc.models.memory import n_parameters, packed_layers, tensor_bytes
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint

needs_vectors = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="this CPU has no packed products"
)
EVERY = [
    (fmt, bits, group_size, symmetric)
    for fmt in (COMPRESSED_TENSORS, GPTQ, GPTQ_V2, AWQ)
    for bits in (2, 3, 4, 8)
    for group_size in (-1, 64)
    for symmetric in (True, False)
    if (fmt is not AWQ or bits == 4) and (fmt is not GPTQ or symmetric)
]


def quantise(model, **grid):
    return {name: round_to_nearest(module.weight.data, **grid) for name, module in block_linears(model).items()}


@pytest.mark.parametrize("fmt, bits, group_size, symmetric", EVERY, ids=lambda v: getattr(v, "name", str(v)))
def test_every_format_computes_packed_what_its_dense_model_computes(tmp_path, fmt, bits, group_size, symmetric):
    model = make_llama(torch.bfloat16)
    layers = quantise(model, bits=bits, group_size=group_size, symmetric=symmetric)
    reference = write_checkpoint(tmp_path, model, fmt, layers)
    loaded = load_model(tmp_path)
    assert len(packed_layers(loaded)) == len(layers) == 14
    assert loaded.dtype == torch.bfloat16 and torch.equal(logits(loaded), logits(reference))
    assert (logits(model) - logits(reference)).abs().max() > 1e-3  # and that is not what the dense model computes
    assert torch.equal(logits(load_model(tmp_path, kernels="dense")), logits(reference))


def test_in_float32_the_codes_have_no_rounding_at_all(tmp_path):
    model = make_llama(torch.bfloat16)
    layers = quantise(model, bits=4, group_size=32)
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, layers).float()
    for name, layer in layers.items():
        grid = layer.quantised
        scale, zero = (each.float().repeat_interleave(32, 1) for each in (grid.scale, grid.zero))
        reference.get_submodule(name).weight.data = (grid.codes.float() - zero) * scale
    assert torch.equal(logits(load_model(tmp_path, dtype=torch.float32)), logits(reference))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_a_packed_model_takes_the_bytes_of_its_codes(tmp_path, bits):
    """Every storage counted: what isn't packed as it was, the packed layers by their bits and 16 bits a scale."""
    model = make_llama(torch.bfloat16)
    write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model, bits=bits, group_size=64))
    loaded = load_model(tmp_path)
    n_packed = sum(module.weight.numel() for module in block_linears(model).values())
    others = tensor_bytes(model) - 2 * n_packed
    assert tensor_bytes(loaded) == others + n_packed * bits // 8 + 2 * n_packed // 64
    shapes = {module.weight.shape for module in block_linears(model).values()}
    inside = [t for layer in packed_layers(loaded) for t in (*layer.parameters(), *layer.buffers())]
    assert not [t for t in inside if t.is_floating_point() and t.shape in shapes]
    assert n_parameters(loaded) == n_parameters(model) == sum(p.numel() for p in model.parameters())
    held = tensor_bytes(loaded)
    logits(loaded)
    assert tensor_bytes(loaded) == held  # a call leaves nothing behind


@needs_vectors
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_fast_layers_are_the_dequantised_ones_to_bfloat16(tmp_path, bits, dtype, caplog):
    model = make_llama(torch.bfloat16)
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model, bits=bits, group_size=64))
    loaded = load_model(tmp_path, kernels="fast", dtype=dtype)
    assert all(isinstance(layer, CpuPackedLinear) for layer in packed_layers(loaded)) and not caplog.records
    x = torch.randn(3, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    for name in block_linears(model):
        layer, dense = loaded.get_submodule(name), reference.get_submodule(name)
        given = x if layer.in_features == 128 else torch.cat([x, -2 * x], 1)
        exact = given.double() @ dense.weight.double().T
        assert (layer(given).double() - exact).norm() <= 4e-3 * exact.norm()
    spread = logits(reference.float())
    assert (logits(loaded) - spread).norm() <= 0.03 * spread.norm()
    assert tensor_bytes(loaded) < tensor_bytes(load_model(tmp_path, kernels="dense", dtype=dtype))


@needs_vectors
def test_what_has_no_fast_path_says_so_once_and_stays_exact(tmp_path, caplog):
    model = make_llama()
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model, group_size=16))
    loaded = load_model(tmp_path, kernels="fast")
    assert torch.equal(logits(loaded), logits(reference))
    assert [r.message for r in caplog.records] == [
        "14 of 14 packed matrices are unpacked in every call: groups of 16 columns, where 32, 64, 128 or 256 must fit"
    ]


def test_the_exact_default_is_told_to_who_asks(tmp_path, caplog):
    model = make_llama()
    write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model))
    with caplog.at_level(logging.INFO, logger="llmc"):
        assert isinstance(packed_layers(llmc.load(tmp_path))[0], PackedLinear)
    assert ["14 matrices stay packed" in r.message for r in caplog.records] == [True]


@pytest.mark.parametrize("kernels", ["exact", pytest.param("fast", marks=needs_vectors)])
def test_an_act_order_file_of_others_is_computed_rightly(tmp_path, kernels):
    """The columns of a GPTQ file are dealt to groups by g_idx; one layer is built by hand from the formula."""
    model = make_llama(torch.bfloat16)
    reference = write_checkpoint(tmp_path, model, GPTQ, quantise(model, group_size=64))
    state = load_file(tmp_path / "model.safetensors")
    draws = torch.Generator().manual_seed(3)
    for name, layer in quantise(model, group_size=64).items():
        g_idx = torch.randperm(layer.weight.shape[1], generator=draws) % layer.quantised.scale.shape[1]
        state[f"{name}.g_idx"] = g_idx.int()
        value = (layer.quantised.codes.float() - 8) * layer.quantised.scale[:, g_idx]
        reference.get_submodule(name).weight.data = value.bfloat16()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(tmp_path, kernels=kernels)
    if kernels == "exact":
        assert torch.equal(logits(loaded), logits(reference))
    else:
        assert (logits(loaded) - logits(reference)).norm() <= 0.03 * logits(reference).norm()


def test_tied_embeddings_shards_biases_and_layers_on_unlike_grids(tmp_path):
    model = make_llama(tied=True)
    layers = {
        name: round_to_nearest(module.weight.data, bits=8 if "o_proj" in name else 3, group_size=64)
        for name, module in block_linears(model).items()
        if "q_proj" not in name
    }
    left = ["lm_head", *(name for name in block_linears(model) if "q_proj" in name)]
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, layers, ignored=left, n_shards=3)
    loaded = load_model(tmp_path)
    assert torch.equal(logits(loaded), logits(reference))
    assert {layer.bits for layer in packed_layers(loaded)} == {3, 8}
    assert is_plain_linear(loaded.model.layers[0].self_attn.q_proj)


def test_a_bias_is_kept(tmp_path):
    from llmc.models.tiny import tiny_model

    model = tiny_model("qwen2")
    layers = quantise(model, group_size=32)
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, layers)
    assert any("bias" in name for name, _ in model.named_parameters())
    assert torch.equal(logits(load_model(tmp_path)), logits(reference))


def test_factors_stay_factors(tmp_path):
    model = make_llama()
    layers = {}
    for name, module in block_linears(model).items():
        u, s, v = torch.linalg.svd(module.weight.data)
        pair = Factors(left=u[:, :8] * s[:8], right=v[:8])
        layers[name] = Compressed(weight=pair.left @ pair.right, bits_per_weight=8.0, factors=pair)
    write_checkpoint(tmp_path, model, FACTORS, layers)
    n_dense = sum(module.weight.numel() for module in block_linears(model).values())
    n_thin = sum(8 * sum(module.weight.shape) for module in block_linears(model).values())
    for kernels in ("exact", "fast"):
        assert tensor_bytes(load_model(tmp_path, kernels=kernels)) == tensor_bytes(model) - 4 * (n_dense - n_thin)


def test_shared_storage_counts_once_and_in_full():
    box = nn.Module()
    whole = torch.zeros(100)
    box.register_buffer("a", whole[:10])
    box.register_buffer("b", whole[50:])
    box.register_buffer("c", torch.zeros(3, dtype=torch.uint8))
    assert tensor_bytes(box) == 400 + 3


def test_a_packed_model_is_not_saved(tmp_path):
    model = make_llama()
    write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model))
    loaded = load_model(tmp_path)
    assert not [name for name in loaded.state_dict() if "proj" in name]
    with pytest.raises(ValueError, match="llmc-packed"):
        loaded.save_pretrained(tmp_path / "again")


def changed(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {**config["quantization_config"], **values}
    (folder / "config.json").write_text(json.dumps(config))


def test_what_is_not_read_here_goes_to_transformers_with_a_reason(tmp_path, caplog):
    model = make_llama()
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, quantise(model))
    changed(tmp_path, transform_config={"config_groups": {}, "note": 1})
    try:
        loaded = load_model(tmp_path)
    except Exception:  # the library may refuse such a file; what counts here is that it was asked, and why
        loaded = None
    assert "transform_config" in caplog.records[0].message
    assert loaded is None or (logits(loaded) - logits(reference)).abs().max() <= 1e-4


def test_wrong_settings_and_damaged_files_are_one_sentence(tmp_path):
    model = make_llama()
    write_checkpoint(tmp_path, model, GPTQ, quantise(model))
    with pytest.raises(UserError, match="did you mean 'fast'"):
        load_model(tmp_path, kernels="fasd")
    state = load_file(tmp_path / "model.safetensors")
    name = "model.layers.0.mlp.down_proj"
    broken = copy.copy(state)
    broken[f"{name}.g_idx"] = state[f"{name}.g_idx"] + 7
    save_file(broken, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="damaged"):
        load_model(tmp_path)
    for part in ("qweight", "qzeros", "scales", "g_idx"):
        broken[f"{name}.{part}"] = state[f"model.layers.0.self_attn.q_proj.{part}"].clone()
    save_file(broken, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="don't belong"):
        load_model(tmp_path)
