"""Which models read their embedded tokens again behind the first block: those are kept, others are let go of."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig

from llmc.models import first_states
from llmc.models.first_states import read_again, watch
from llmc.models.layout import find_blocks
from llmc.models.shrink import small_model


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mixtral", "mamba2", "gemma3_text"])
def test_usual_models_do_not(kind):
    config = AutoConfig.for_model(kind)
    assert not read_again(config, find_blocks(small_model(config))[0])


def test_a_block_that_reads_them_later_is_seen():
    """The last block adds what the embeddings gave: the plainest case, made by hand."""
    model = small_model(AutoConfig.for_model("llama"))
    prefix, blocks = find_blocks(model)
    seen: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda module, args, out: seen.append(out))
    blocks[-1].register_forward_hook(lambda module, args, out: out + seen[-1])
    assert watch(model, prefix)


def test_a_block_that_writes_into_its_input_is_seen():
    """What it gives back is then the embedded tokens' own memory."""

    class InPlace(nn.Module):
        def forward(self, hidden_states, *args, **kwargs):
            return hidden_states.add_(1.0)

    model = small_model(AutoConfig.for_model("llama"))
    prefix, blocks = find_blocks(model)
    blocks[0] = InPlace()
    assert watch(model, prefix)


def test_where_no_copy_can_be_run_they_are_kept(monkeypatch):
    def fails(config):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(first_states, "small_model", fails)
    first_states._read_again.cache_clear()
    assert read_again(AutoConfig.for_model("llama"), "model.layers")
    first_states._read_again.cache_clear()
