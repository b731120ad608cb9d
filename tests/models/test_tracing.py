"""What compression leaves alone, found by watching a small copy run."""

import pytest
import torch
from transformers import AutoConfig

from llmc.models.layout import find_blocks, matrices
from llmc.models.shrink import small_config, small_model
from llmc.models.skeleton import Skeleton
from llmc.models.tracing import RANKED, READ_ELSEWHERE, watch

ROUTERS = {
    "afmoe": ({}, "mlp.router.gate"),
    "hunyuan_v1_moe": ({"head_dim": 16, "num_experts": 4, "moe_topk": 2}, "mlp.gate.wg"),
}


@pytest.mark.parametrize("kind", ROUTERS)
def test_a_router_is_found_by_what_it_feeds_whatever_it_is_called(kind, tmp_path):
    settings, router = ROUTERS[kind]
    model = small_model(AutoConfig.for_model(kind, **settings))
    prefix, _ = find_blocks(model)
    assert watch(model, prefix)[router] == RANKED
    model.save_pretrained(tmp_path)
    skeleton = Skeleton(tmp_path, torch.float32)
    names = {m.name for block in find_blocks(skeleton.model)[1] for m in matrices(block)}
    assert names and not {n for n in names if n == router or n.startswith(router + ".")}


def test_projections_are_not_taken_for_routers():
    model = small_model(AutoConfig.for_model("mixtral"))
    assert watch(model, "model.layers").keys() <= {"mlp.gate"}


def test_a_weight_that_other_code_reads_is_left_alone():
    model = small_model(AutoConfig.for_model("falcon_mamba"))
    assert watch(model, "backbone.layers")["mixer.dt_proj"] == READ_ELSEWHERE


def test_a_small_copy_keeps_features_and_is_small():
    config = AutoConfig.for_model("qwen3_next")
    small = small_config(config)
    assert type(small) is type(config)
    assert set(small.layer_types) == set(config.layer_types) == {"linear_attention", "full_attention"}
    assert small.hidden_size <= 64 and small.num_experts <= 4 and small.vocab_size <= 128
    assert small.hidden_act == config.hidden_act
    grouped = small_config(AutoConfig.for_model("llama", num_attention_heads=32, num_key_value_heads=8))
    whole = small_config(AutoConfig.for_model("llama", num_attention_heads=32, num_key_value_heads=32))
    assert grouped.num_key_value_heads < grouped.num_attention_heads == whole.num_key_value_heads
