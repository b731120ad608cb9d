"""Perplexity against what it must be by definition."""

import types

import pytest
import torch

from llmc.evaluate.perplexity import window_perplexity


def fake(logits_of):
    def call(input_ids, use_cache):
        return types.SimpleNamespace(logits=logits_of(input_ids))

    call.device = "cpu"
    return call


def test_a_uniform_model_has_the_vocabulary_size_as_perplexity():
    model = fake(lambda ids: torch.zeros(*ids.shape, 37))
    found = window_perplexity(model, torch.randint(0, 37, (1000,)), 100)
    assert found.value == pytest.approx(37, rel=1e-5)
    assert found.n_tokens == 990


def test_it_is_the_definition_whatever_the_batch():
    torch.manual_seed(0)
    table = torch.randn(11, 11)
    model = fake(lambda ids: table[ids])
    tokens = torch.randint(0, 11, (205,))
    log_p = table.log_softmax(-1)
    losses = [-log_p[tokens[i], tokens[i + 1]] for i in range(200) if (i + 1) % 20]
    want = torch.stack(losses).mean().exp()
    for batch_tokens in (1, 40, 10_000):
        assert window_perplexity(model, tokens, 20, batch_tokens=batch_tokens).value == pytest.approx(float(want))


def test_a_text_shorter_than_a_window_has_none():
    assert window_perplexity(fake(lambda ids: None), torch.zeros(5, dtype=torch.long), 10).value is None
