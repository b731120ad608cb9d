"""config.json: transformers' own are taken, all of them; values of another kind, sign or size are named."""

import json

import pytest
from transformers import CONFIG_MAPPING, AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from llmc.data.mini_model import mini_model_path
from llmc.errors import UserError
from llmc.offline import network
from llmc.reading.model_config import model_config
from llmc.reading.quantization import check_pattern

MINI = json.loads((mini_model_path() / "config.json").read_text())


@pytest.mark.parametrize("model_type", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_the_settings_that_transformers_itself_writes_are_taken(tmp_path, model_type):
    if model_type not in CONFIG_MAPPING:
        pytest.skip("no such configuration")
    try:
        config = AutoConfig.for_model(model_type)
    except Exception as error:
        pytest.skip(f"it makes none by itself: {str(error)[:80]}")
    (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
    model_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_size", "576"),
        ("hidden_size", -1),
        ("hidden_size", 10**30),
        ("hidden_size", 128.0),
        ("hidden_size", {}),
        ("hidden_size", True),
        ("vocab_size", 0),
        ("vocab_size", 10**9),
        ("num_hidden_layers", 10**6),
        ("num_hidden_layers", [6]),
        ("num_attention_heads", 0),
        ("num_key_value_heads", 3),
        ("rms_norm_eps", "small"),
        ("rms_norm_eps", -1e-5),
        ("attention_dropout", 2),
        ("tie_word_embeddings", "yes"),
        ("architectures", "Llama"),
        ("model_type", 7),
        ("hidden_act", 5),
        ("max_position_embeddings", -1),
        ("rope_parameters", "linear"),
        ("eos_token_id", "0"),
        ("eos_token_id", [0, "1"]),
        ("return_dict", False),
        ("num_labels", 10**9),
        ("unknown", 10**30),
        ("attn_implementation", "kernels-community/flash-attn"),
        ("_attn_implementation_internal", "org/repo"),
        ("attn_implementation", {"": "org/repo"}),
        ("experts_implementation", "org/repo"),
        ("custom_generate", "org/repo"),
        ("transformers_weights", "other.safetensors"),
        ("use_pretrained_backbone", True),
        ("quantization_config", [4]),
        ("text_config", {"hidden_size": "576"}),
        ("text_config", {"attn_implementation": "org/repo"}),
        ("text_config", []),
    ],
)
def test_a_value_that_no_decoder_has_is_named(tmp_path, name, value):
    (tmp_path / "config.json").write_text(json.dumps({**MINI, name: value}))
    with pytest.raises(
        UserError, match=name.removeprefix("text_config.") if name != "num_key_value_heads" else "heads"
    ):
        model_config(tmp_path / "config.json")


SOUND = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 128},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
    "compressed-tensors": {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32},
            }
        },
    },
    "factors": {"llmc_factor_ranks": {"model.layers.0.mlp.up_proj": 4}},
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_quantization_settings_are_taken(tmp_path, kind):
    (tmp_path / "config.json").write_text(json.dumps({**MINI, "quantization_config": SOUND[kind]}))
    model_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("gptq", {"bits": "4"}),
        ("gptq", {"bits": -4}),
        ("gptq", {"group_size": 10**30}),
        ("gptq", {"desc_act": "no"}),
        ("gptq", {"quant_method": "gptqq"}),
        ("gptq", {"quant_method": "bitsandbytes"}),
        ("gptq", {"quant_method": ["gptq"]}),
        ("gptq", {"quant_method": None}),
        ("awq", {"version": 1}),
        ("awq", {"modules_to_not_convert": "all"}),
        ("compressed-tensors", {"config_groups": []}),
        ("compressed-tensors", {"config_groups": {"a": {"targets": "Linear"}}}),
        ("compressed-tensors", {"config_groups": {"a": {"targets": ["re:("]}}}),
        ("compressed-tensors", {"ignore": ["re:(a+)+$"]}),
        ("factors", {"llmc_factor_ranks": {"a": 0}}),
        ("factors", {"llmc_factor_ranks": {"a": "4"}}),
        ("factors", {"llmc_factor_ranks": [4]}),
    ],
)
def test_quantization_settings_of_another_form_are_named(tmp_path, kind, change):
    (tmp_path / "config.json").write_text(json.dumps({**MINI, "quantization_config": {**SOUND[kind], **change}}))
    with network(allowed=False), pytest.raises(UserError, match=r"quantization_config|quant_method"):
        model_config(tmp_path / "config.json")


@pytest.mark.parametrize("pattern", [r".*lm_head", r"model\.layers\.\d+\.self_attn\.(q|k|v)_proj", r"(?:a|b)c+.*d"])
def test_usual_patterns_are_taken(pattern):
    assert check_pattern(pattern) == pattern


@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)*b", r"(.*)*x", r"(.*?,){99}", ".*" * 9, "(", "a" * 600])
def test_patterns_that_take_minutes_are_refused(pattern):
    with pytest.raises(ValueError, match="pattern"):
        check_pattern(pattern)
