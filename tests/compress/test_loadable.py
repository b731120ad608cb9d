"""What a job is going to write is asked of transformers' loader before any work; layers left alone are named."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from llmc.compress import plan as plan_module
from llmc.compress.plan import plan
from llmc.compress.run import compress
from llmc.compress.walk import walk
from llmc.errors import UserError
from llmc.models.load import load_model
from llmc.models.tiny import _DECODER, _EXPERTS, save_tiny
from tests.compress.formats.checkpoints import logits
from tests.compress.jobs import job, quiet

GRID = {"bits": 4, "group_size": 32}


def save(directory, model_type, **settings):
    """A random model of any type that transformers knows."""
    config = AutoConfig.for_model(model_type, **(_DECODER | settings))
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.15) if parameter.dim() > 1 else parameter.data.add_(0.1)
    model.save_pretrained(directory)
    return model


def qwen2_moe(directory):
    sizes = {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "decoder_sparse_step": 1}
    return save(directory, "qwen2_moe", **(_EXPERTS | sizes))


def test_every_linear_layer_left_alone_is_in_the_ignore_list(tmp_path):
    qwen2_moe(tmp_path / "dense")
    compress(job(tmp_path, method="rtn", settings=GRID), quiet)
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    gates = [f"model.layers.{i}.mlp.shared_expert_gate" for i in range(2)]
    assert sorted(config["ignore"]) == sorted([*gates, "lm_head"])
    stock, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.allclose(logits(stock), logits(load_model(tmp_path / "out")), atol=1e-5)


@pytest.mark.parametrize("format_name, key", [("gptq", "dynamic"), ("awq", "modules_to_not_convert")])
def test_the_other_formats_name_what_is_left_in_a_block(tmp_path, monkeypatch, format_name, key):
    """A loader of these that goes by the config finds a packed layer for every name that the files have one of."""
    save_tiny("llama", tmp_path / "dense")
    only = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
    for module in (plan_module, walk):
        found = module.matrices
        monkeypatch.setattr(
            module, "matrices", lambda block, found=found: (m for m in found(block) if m.name.split(".")[-1] in only)
        )
    compress(job(tmp_path, method="rtn", settings=GRID, format=format_name), quiet)
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    left = [f"model.layers.{i}.mlp.gate_proj" for i in range(2)]
    named = " ".join(config[key]).replace("\\", "")
    assert all(name in named for name in left)
    assert all(f"{name}.weight" in load_file(tmp_path / "out/model.safetensors") for name in left)


@pytest.mark.parametrize("model_type", ["nanochat", "modernbert-decoder"])
def test_a_class_whose_loader_raises_is_refused_before_any_work_and_evaluates_pruned(tmp_path, model_type):
    """Its own code gives `weight` first values, which a packed layer hasn't."""
    save(tmp_path / "dense", model_type)
    with pytest.raises(
        UserError, match=r"can't load a \w+ from compressed-tensors files: its loader raises Attr.*--format"
    ):
        plan(job(tmp_path, method="rtn", settings=GRID))
    assert not (tmp_path / "out").exists()
    compress(job(tmp_path, method="magnitude", settings={"sparsity": 0.6}), quiet)
    dense = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(logits(load_model(tmp_path / "out")), logits(dense))


def test_a_router_that_is_a_linear_layer_by_class_is_named_too(tmp_path):
    save(tmp_path / "dense", "phimoe", num_local_experts=4, num_experts_per_tok=2)
    compress(job(tmp_path, method="rtn", settings=GRID), quiet)
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]


def with_tensors(directory, **more):
    path = directory / "model.safetensors"
    save_file(load_file(path) | more, path, metadata={"format": "pt"})


def test_tensors_that_the_model_does_not_use_are_refused_before_any_work(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    with_tensors(tmp_path / "dense", **{"model.layers.1.self_attn.v_proj.bias": torch.ones(32)})
    with pytest.raises(UserError, match=r"1 tensors .* no place for, the first is model\.layers\.1\.self_attn\.v_proj"):
        plan(job(tmp_path))


def test_layers_for_multi_token_prediction_survive_byte_for_byte_and_are_not_called_quantised(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    path = tmp_path / "dense/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_nextn_predict_layers": 1}))
    block = {n: t for n, t in load_file(tmp_path / "dense/model.safetensors").items() if ".layers.1." in n}
    extra = {n.replace(".layers.1.", ".layers.2."): t.clone() for n, t in block.items()}
    extra |= {"model.layers.2.eh_proj.weight": torch.randn(64, 128), "mtp.norm.weight": torch.randn(64)}
    with_tensors(tmp_path / "dense", **extra)
    account = compress(job(tmp_path, method="rtn", settings=GRID), quiet)
    written = load_file(tmp_path / "out/model.safetensors")
    assert all(torch.equal(written[name], tensor) for name, tensor in extra.items())
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["num_nextn_predict_layers"] == 1
    assert "model.layers.2.eh_proj" in config["quantization_config"]["ignore"]
    assert any("11 tensors of multi-token-prediction layers" in said for said in account.warnings)
    load_model(tmp_path / "out")


def test_shapes_that_the_config_denies_are_refused_before_any_work(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    path = tmp_path / "dense/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 64}))
    with pytest.raises(UserError, match=r"6 tensors have another shape .* model\.layers\.0\.mlp\.down_proj\.weight"):
        plan(job(tmp_path))


@pytest.mark.parametrize(
    "sizes, way",
    [
        (
            {"intermediate_size": 96},
            r"2 of 14 matrices: model\.layers\.0\.mlp\.down_proj has 96 .*--group-size 32 is the",
        ),
        ({"intermediate_size": 72}, r"down_proj has 72 .*--group-size 8 is the"),
        ({"intermediate_size": 100}, r"down_proj has 100 .*; use --group-size -1"),
    ],
)
def test_group_sizes_are_held_against_every_matrix_before_any_work(tmp_path, sizes, way):
    save_tiny("llama", tmp_path / "dense", **sizes)
    with pytest.raises(UserError, match=way):
        plan(job(tmp_path, method="gptq", settings={"bits": 4, "group_size": 64}))


def test_asymmetric_files_are_written_with_their_warning(tmp_path):
    """transformers reads them when it is asked to take the weights apart, which the trial does."""
    save_tiny("llama", tmp_path / "dense")
    account = compress(job(tmp_path, method="rtn", settings=GRID | {"symmetric": False}), quiet)
    assert any("dequantize=True" in said for said in account.warnings)


def test_blocks_where_optimum_does_not_look_are_named(tmp_path):
    save(tmp_path / "dense", "biogpt")
    compress(job(tmp_path, method="rtn", settings=GRID, format="gptq"), quiet)
    config = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    assert config["block_name_to_quantize"] == "biogpt.layers"
