import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, MixtralConfig, Qwen3MoeConfig

from llmc.compress.format import Stored, dense
from llmc.compress.formats.compressed_tensors import FORMAT
from llmc.compress.method import Compressed
from llmc.errors import UserError
from llmc.models.load import load_model
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint


def quantise(model, **grid):
    return {name: round_to_nearest(module.weight.data, **grid) for name, module in block_linears(model).items()}


def load(folder, **how):
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **how)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [-1, 32, 128])
def test_plain_transformers_computes_what_the_codes_say(tmp_path, bits, group_size):
    model = make_llama()
    reference = write_checkpoint(tmp_path, model, FORMAT, quantise(model, bits=bits, group_size=group_size))
    assert (logits(load(tmp_path)) - logits(reference)).abs().max() <= 1e-5
    assert (logits(model) - logits(reference)).abs().max() > 1e-3  # and that is not what the dense model computes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_bit_for_bit(tmp_path, dtype):
    model = make_llama(dtype)
    reference = write_checkpoint(tmp_path, model, FORMAT, quantise(model, bits=4, group_size=64))
    loaded = load(tmp_path)
    assert loaded.dtype == dtype and torch.equal(logits(loaded), logits(reference))


def test_tied_embeddings_and_shards(tmp_path):
    model = make_llama(tied=True)
    reference = write_checkpoint(tmp_path, model, FORMAT, quantise(model), n_shards=3)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    assert (logits(load(tmp_path)) - logits(reference)).abs().max() <= 1e-5


def test_layers_on_different_grids_and_layers_left_dense(tmp_path):
    model = make_llama()
    layers = {
        name: round_to_nearest(module.weight.data, bits=8 if "o_proj" in name else 4, group_size=64)
        for name, module in block_linears(model).items()
        if "q_proj" not in name
    }
    left = ["lm_head", *(name for name in block_linears(model) if "q_proj" in name)]
    reference = write_checkpoint(tmp_path, model, FORMAT, layers, ignored=left)
    assert (logits(load(tmp_path)) - logits(reference)).abs().max() <= 1e-5


@pytest.mark.parametrize("group_size", [-1, 64])
def test_an_asymmetric_file_needs_dequantize_as_its_warning_says(tmp_path, group_size):
    """When the first assertion fails, transformers has learnt to load them: take the warning away."""
    model = make_llama()
    layers = quantise(model, bits=4, group_size=group_size, symmetric=False)
    reference = write_checkpoint(tmp_path, model, FORMAT, layers)
    with pytest.raises(RuntimeError):
        load(tmp_path)
    loaded = load(tmp_path, quantization_config=CompressedTensorsConfig(dequantize=True))
    assert (logits(loaded) - logits(reference)).abs().max() <= 1e-5
    stored = {name: Stored.of(layer) for name, layer in layers.items()}
    assert any("dequantize=True" in sentence for sentence in FORMAT.warnings(stored))


TINY_MOE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
}


@pytest.mark.parametrize(
    "config",
    [
        MixtralConfig(intermediate_size=96, num_local_experts=4, **TINY_MOE),
        Qwen3MoeConfig(moe_intermediate_size=32, num_experts=4, num_experts_per_tok=2, head_dim=16, **TINY_MOE),
    ],
    ids=["mixtral", "qwen3-moe"],
)
@pytest.mark.parametrize("bits", [3, 4])
def test_experts_stored_one_by_one_load_into_the_fused_tensors(tmp_path, config, bits, caplog):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "reference")
    state = load_file(tmp_path / "reference" / "model.safetensors")
    linear = [name[:-7] for name in state if re.search(r"(proj|\.w[123])\.weight$", name)]
    assert sum(".experts." in name for name in linear) == 2 * 4 * 3
    layers = {name: round_to_nearest(state.pop(f"{name}.weight"), bits=bits, group_size=32) for name in linear}
    plain = {**state, **{f"{name}.weight": layer.weight for name, layer in layers.items()}}
    save_file(plain, tmp_path / "reference" / "model.safetensors", metadata={"format": "pt"})

    stored = {n: Stored.of(layer, "expert" if ".experts." in n else "linear") for n, layer in layers.items()}
    for name, layer in layers.items():
        FORMAT.refuse(name, stored[name])
        state.update(FORMAT.tensors(name, layer))
    routers = [name[:-7] for name in state if name.endswith(".gate.weight")]
    values = json.loads((tmp_path / "reference" / "config.json").read_text())
    values["quantization_config"] = FORMAT.config(stored, ignored=["lm_head", *routers])
    (tmp_path / "config.json").write_text(json.dumps(values))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert (logits(load(tmp_path)) - logits(load(tmp_path / "reference"))).abs().max() <= 1e-5
    # Our own loader leaves experts that the model joins to transformers, and says so.
    assert (logits(load_model(tmp_path)) - logits(load(tmp_path / "reference"))).abs().max() <= 1e-5
    assert any("joins into one tensor" in record.message for record in caplog.records)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [-1, 32])
def test_reading_gives_the_codes_back(bits, symmetric, group_size):
    layer = round_to_nearest(torch.randn(37, 96), bits=bits, group_size=group_size, symmetric=symmetric)
    tensors = FORMAT.tensors("a.b", layer)
    config = json.loads(json.dumps(FORMAT.config({"a.b": Stored.of(layer)}), allow_nan=False))
    grid = FORMAT.read("a.b", tensors, config)
    for field in ("codes", "scale", "zero"):
        assert torch.equal(getattr(grid, field), getattr(layer.quantised, field))
    assert (grid.bits, grid.group_size, grid.symmetric) == (bits, group_size, symmetric)
    assert torch.equal(dense(grid, layer.weight.dtype), layer.weight)


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_tensors_are_those_that_compressed_tensors_makes_itself(symmetric):
    """Their compressor as the oracle: given the dense weight and the same scales, it must write the same words."""
    from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationConfig

    layer = round_to_nearest(torch.randn(48, 64), bits=4, group_size=32, symmetric=symmetric)
    ours = FORMAT.tensors("a", layer)
    config = QuantizationConfig(**FORMAT.config({"a": Stored.of(layer)}))
    scheme = config.config_groups["group_0"]
    state = {"weight": layer.weight, "weight_scale": layer.quantised.scale}
    state["weight_zero_point"] = (layer.quantised.zero.to(torch.int16) - 8).to(torch.int8)
    theirs = PackedQuantizationCompressor.compress(state, scheme)
    assert {f"a.{name}" for name in theirs} == set(ours)
    for name, tensor in theirs.items():
        assert torch.equal(ours[f"a.{name}"], tensor), name


def test_what_it_cannot_hold_is_refused_in_a_sentence():
    weight = torch.randn(32, 64)
    layer, asymmetric = (
        round_to_nearest(weight, group_size=32),
        round_to_nearest(weight, group_size=32, symmetric=False),
    )
    for stored, words in (
        (Stored.of(Compressed(weight=weight, bits_per_weight=32.0)), "not quantised"),
        (Stored.of(layer, "conv1d"), "random weights"),
        (Stored.of(asymmetric, "expert"), "zero points"),
        (Stored(shape=(32, 64), bits=5, group_size=32, symmetric=True), "5"),
    ):
        with pytest.raises(UserError, match=words):
            FORMAT.refuse("model.layers.0.x", stored)
    FORMAT.refuse("model.layers.0.x", Stored.of(asymmetric))


def test_experts_that_transformers_could_not_read_are_refused():
    def expert(bits):
        return Stored(shape=(32, 64), module="expert", bits=bits, group_size=32, symmetric=True)

    with pytest.raises(UserError, match="2 grids"):
        FORMAT.config({"m.experts.0.w1": expert(4), "m.experts.1.w1": expert(8)})
    with pytest.raises(UserError, match=r"experts\.1"):
        FORMAT.config({"m.experts.0.w1": expert(4)}, ignored=["m.experts.1.w1"])


def test_the_default_warns_of_nothing_and_three_bits_say_they_are_not_portable():
    def warned(bits):
        return FORMAT.warnings({"a": Stored(shape=(32, 64), bits=bits, group_size=32, symmetric=True)})

    assert warned(4) == () and warned(8) == ()
    assert "not portable" in warned(3)[0]


def test_a_layer_that_the_config_does_not_name_is_said():
    layer = Stored(shape=(32, 64), bits=4, group_size=32, symmetric=True)
    other = Stored(shape=(32, 64), bits=8, group_size=32, symmetric=True)
    config = FORMAT.config({"a": layer, "b": other})
    with pytest.raises(UserError, match="no compressed-tensors group for c"):
        FORMAT.read("c", {}, config)
