"""Windowed perplexity."""

import math

import pytest
import torch

from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.stats.estimate import Estimate
from llmc.evaluate.task import Answer, Scored
from llmc.kick_bench.tasks.perplexity import TASK, exponential
from tests.evaluate import tiny


def test_windows_dont_overlap_and_the_rest_is_dropped(ctx):
    made = ctx(encode=lambda text: list(range(10_000)), decode=lambda tokens: "x" * len(tokens), max_length=4096)
    items = list(TASK.items(made))
    assert [item.requests[0].tokens for item in items] == [tuple(range(i, i + 2048)) for i in range(0, 8192, 2048)]
    assert items[0].meta == {"n_scored": 2047, "n_bytes": 2047}


def test_gpt2_makes_140_windows_of_the_joined_text(shared, ctx):
    tokenizers = shared.parent / "tokenizers/gpt2"
    if not tokenizers.is_dir():
        pytest.skip("GPT-2's tokenizer isn't there")
    from transformers import GPT2TokenizerFast

    tokenizer = GPT2TokenizerFast(vocab=str(tokenizers / "vocab.json"), merges=str(tokenizers / "merges.txt"))
    text = (shared / "wikitext2/test.txt").read_text(encoding="utf-8")
    assert len(tokenizer.encode(text)) == 287_644
    assert len(list(TASK.items(ctx(encode=tokenizer.encode, decode=tokenizer.decode)))) == 287_644 // 2048


def test_a_uniform_model_has_the_vocabulary_as_perplexity(ctx):
    made = ctx(encode=lambda text: list(range(5000)), decode=lambda tokens: "x" * len(tokens))
    items = list(TASK.items(made))
    answer = Answer(loglikelihood=-2047 * math.log(32_000))
    found = TASK.summarise([Scored(item, TASK.mark(item, [answer])) for item in items])
    assert found["perplexity"].value == pytest.approx(32_000)
    assert found["bits_per_byte"].value == pytest.approx(math.log2(32_000))


def direct(model, tokens, window):
    """The definition: exp of the mean loss over windows that don't overlap."""
    windows = torch.tensor(tokens)[: len(tokens) // window * window].view(-1, window)
    with torch.no_grad():
        log_p = model(input_ids=windows).logits[:, :-1].float().log_softmax(-1)
    return float(log_p.gather(-1, windows[:, 1:, None]).mean().neg().exp())


def test_the_engine_and_the_definition_agree(ctx):
    model, tokenizer = tiny.model("gemma3"), tiny.tokenizer()
    tokens = [3 + (i * i) % 250 for i in range(1000)]
    made = ctx(encode=lambda text: tokens, decode=lambda t: "x" * len(t), max_length=128)
    items = list(TASK.items(made))
    answers = Engine(model, tokenizer, batch_tokens=512).answers([item.requests[0] for item in items])
    found = TASK.summarise([Scored(i, TASK.mark(i, [a])) for i, a in zip(items, answers, strict=True)])
    assert found["perplexity"].value == pytest.approx(direct(model, tokens, 128), rel=1e-5)


def test_the_error_of_an_exponential_is_the_delta_methods():
    assert exponential(Estimate(2.0, 0.1, 5, (1.8, 2.2))) == Estimate(
        math.exp(2), 0.1 * math.exp(2), 5, (math.exp(1.8), math.exp(2.2))
    )
    assert exponential(Estimate(800.0, 1.0, 5, (790.0, 810.0))) == Estimate(None, None, 5)


def test_a_window_whose_likelihood_is_no_number_has_no_mark(ctx):
    """Never a perplexity of 1."""
    made = ctx(encode=lambda text: list(range(5000)), decode=lambda tokens: "x" * len(tokens))
    items = list(TASK.items(made))
    marked = [TASK.mark(item, [Answer(loglikelihood=None if i else -2047.0)]) for i, item in enumerate(items)]
    assert marked[1].marks == {"nats_per_token": None, "bits_per_byte": None} and marked[1].loglikelihoods == (None,)
    found = TASK.summarise([Scored(*pair) for pair in zip(items, marked, strict=True)])
    assert (found["nats_per_token"].value, found["nats_per_token"].n) == (pytest.approx(1.0), 1)
    found = TASK.summarise([Scored(item, marked[1]) for item in items])
    assert found["perplexity"].value is None
