"""Every form of fused experts: taken apart it computes the same, and put together it is the same."""

import pytest
import torch
from transformers import AutoConfig

from llmc.models.experts import SplitExperts, form_of, split_experts
from llmc.models.layout import find_blocks
from llmc.models.shrink import small_model, small_tokens

FORMS = {
    "mixtral": ("routed", False, False, False),
    "gpt_oss": ("routed", True, True, True),
    "aria_text": ("routed", True, False, False),
    "nemotron_h": ("routed", False, False, False),
    "llama4_text": ("stacked", True, False, False),
    "jetmoe": ("sorted", False, False, False),
}


@pytest.mark.parametrize("kind", FORMS)
def test_experts_taken_apart_compute_the_same_and_come_together_again(kind):
    model = small_model(AutoConfig.for_model(kind))
    tokens = small_tokens(model.config)
    fused = {n: (form_of(m), dict(m._parameters)) for n, m in model.named_modules() if form_of(m) is not None}
    assert fused, "no fused experts in this architecture any more"
    tensors = {n: {k: p.detach().clone() for k, p in held.items()} for n, (_, held) in fused.items()}
    for form, _ in fused.values():
        assert (form.call, form.transposed, form.interleaved, form.biases) == FORMS[kind]
    with torch.no_grad():
        before = model(input_ids=tokens, use_cache=False).logits
        for block in find_blocks(model)[1]:
            split_experts(block, "block")
        after = model(input_ids=tokens, use_cache=False).logits
    assert (before - after).abs().max() < 1e-5 * before.abs().max()
    split = {n: m for n, m in model.named_modules() if isinstance(m, SplitExperts)}
    assert split.keys() == tensors.keys()
    for name, module in split.items():
        joined = module.joined()
        assert joined.keys() == tensors[name].keys()
        assert all(torch.equal(joined[k], tensors[name][k]) for k in joined)
