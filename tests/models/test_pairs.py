"""Pairs found by looking: right for every family, and refused where something non-linear stands in between."""

import pytest
import torch

from llmc.models.layout import find_blocks, matrices
from llmc.models.pairs import candidates, movable
from llmc.models.tiny import tiny_model

LLAMA = {
    ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    ("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
    ("self_attn.v_proj", ("self_attn.o_proj",)),
    ("mlp.up_proj", ("mlp.down_proj",)),
}
WANTED = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
    "gemma2": {p for p in LLAMA if p[0] != "post_attention_layernorm"}
    | {("pre_feedforward_layernorm", ("mlp.gate_proj", "mlp.up_proj"))},
    "gemma3": {p for p in LLAMA if p[0] != "post_attention_layernorm"}
    | {("pre_feedforward_layernorm", ("mlp.gate_proj", "mlp.up_proj"))},
    "opt": {
        ("self_attn_layer_norm", ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj")),
        ("self_attn.v_proj", ("self_attn.out_proj",)),
        ("final_layer_norm", ("fc1",)),
        ("fc1", ("fc2",)),  # ReLU lets a positive scale through
    },
    "gpt2": {("ln_1", ("attn.c_attn",)), ("ln_2", ("mlp.c_fc",))},  # GELU does not
    "phi": {
        ("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.fc1")),
        ("self_attn.v_proj", ("self_attn.dense",)),
    },
    "gpt-neox": {
        ("input_layernorm", ("attention.query_key_value",)),
        ("post_attention_layernorm", ("mlp.dense_h_to_4h",)),
    },
}


@pytest.mark.parametrize("family", WANTED)
def test_exactly_the_pairs_that_leave_the_output_alone_are_kept(family):
    model = tiny_model(family)
    _, blocks = find_blocks(model)
    block, calls = blocks[0], {}
    handle = block.register_forward_pre_hook(
        lambda _, args, kwargs: calls.update(args=args, kwargs=kwargs), with_kwargs=True
    )
    with torch.no_grad():
        model(torch.randint(3, 128, (1, 20)), use_cache=False)
    handle.remove()

    def run():
        with torch.no_grad():
            out = block(*calls["args"], **calls["kwargs"])
        return out[0] if isinstance(out, tuple) else out

    before = {name: p.clone() for name, p in block.named_parameters()}
    found = list(matrices(block))
    kept = movable(block, found, candidates(block, found, run, head_dim=16), run)
    assert {(p.producer, frozenset(p.consumers)) for p in kept} == {(p, frozenset(c)) for p, c in WANTED[family]}
    assert all(torch.equal(before[name], p) for name, p in block.named_parameters())  # the trial left no trace
    if family == "llama":
        assert next(p for p in kept if p.producer == "self_attn.v_proj").repeat == 2
