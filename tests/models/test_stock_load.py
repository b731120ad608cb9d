"""What transformers' loader says of shapes alone, against what it does with real files."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.models.load import load_model
from llmc.models.skeleton import Skeleton
from llmc.models.stock_load import meta_tensors, stock_load
from llmc.models.tiny import FAMILIES, save_tiny
from llmc.models.unread import extra_predictions


def asked(directory):
    skeleton = Skeleton(directory, torch.float32)
    return stock_load(type(skeleton.model), skeleton.config, meta_tensors(Checkpoint(directory)))


def rewrite(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_said_of_a_checkpoint_that_transformers_wrote(tmp_path, family):
    save_tiny(family, tmp_path)
    assert asked(tmp_path).problem is None


def test_the_meta_device_says_what_the_real_loader_says(tmp_path):
    save_tiny("llama", tmp_path)
    rewrite(tmp_path, lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(64)}))
    found = asked(tmp_path)
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert set(found.unread) == set(info["unexpected_keys"]) == {"model.layers.0.self_attn.q_proj.bias"}
    assert not found.missing and not found.mismatched and found.error is None


def test_tensors_without_a_place_are_refused_by_name_when_loaded(tmp_path):
    save_tiny("llama", tmp_path)
    rewrite(tmp_path, lambda t: t.update({"model.layers.1.mlp.up_proj.weight_scale_inv": torch.ones(1, 1)}))
    with pytest.raises(
        UserError, match=r"1 tensors that a LlamaForCausalLM .* model\.layers\.1\.mlp\.up_proj\.weight_sc"
    ):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "harmless",
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(8)),
        ("gpt2", "transformer.h.0.attn.bias", torch.ones(1, 1, 128, 128)),
        ("gpt-neo", "transformer.h.0.attn.attention.bias", torch.ones(1, 1, 128, 128)),
        ("llama-tied", "lm_head.weight", None),
    ],
    ids=str,
)
def test_what_every_model_makes_itself_is_no_reason_to_refuse(tmp_path, harmless):
    family, name, tensor = harmless
    save_tiny(family, tmp_path)
    rewrite(tmp_path, lambda t: t.update({name: t["model.embed_tokens.weight"].clone() if tensor is None else tensor}))
    load_model(tmp_path)


def promise(directory, **settings):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def add_block(tensors, index=2):
    for name in [n for n in tensors if ".layers.1." in n]:
        tensors[name.replace(".layers.1.", f".layers.{index}.")] = tensors[name].clone()


def test_a_block_too_many_is_extra_prediction_only_where_the_config_promises_it(tmp_path, caplog):
    save_tiny("llama", tmp_path)
    rewrite(tmp_path, add_block)
    with pytest.raises(UserError, match=r"9 tensors .* the first is model\.layers\.2"):
        load_model(tmp_path)
    promise(tmp_path, num_nextn_predict_layers=1)
    load_model(tmp_path)
    assert "9 tensors of multi-token-prediction layers stay unread (model.layers.2." in caplog.text
    promise(tmp_path, num_nextn_predict_layers=0)
    with pytest.raises(UserError, match="no place for"):
        load_model(tmp_path)


def test_extra_predictions_by_name_and_by_number():
    config = {"num_hidden_layers": 4, "num_nextn_predict_layers": 2}
    names = ["model.layers.3.a", "model.layers.4.a", "model.layers.5.a", "model.layers.6.a", "mtp.fc.weight"]
    assert extra_predictions(names, config) == ["model.layers.4.a", "model.layers.5.a", "mtp.fc.weight"]
    assert extra_predictions(names, {"num_hidden_layers": 4}) == ["mtp.fc.weight"]
