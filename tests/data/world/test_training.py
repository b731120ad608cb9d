"""The training code of bench/train_world: the exported model equals the trained one, batches are what they say."""

import dataclasses
import random
import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from llmc.data.mini_model import mini_model_path
from llmc.data.world.lessons import Letter, draw

sys.path.insert(0, str(Path(__file__).parents[3] / "bench" / "train_world"))

from batches import Batch, batch, encoder, fill, thinned
from model import World, rotate, to_llama
from recipe import RECIPE

TINY = dataclasses.replace(
    RECIPE, width=64, inner=32, layers=2, heads=4, early=1, rows=3, processes=1, context=512, tokens=20 * 3 * 128
)


@pytest.fixture(scope="module")
def tokenizer():
    return PreTrainedTokenizerFast.from_pretrained(mini_model_path())


def test_the_exported_llama_has_the_same_logits():
    torch.manual_seed(0)
    model = World(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.randint(0, TINY.vocabulary, (2, 40))
    ours = model(ids) @ model.embed.weight.T
    assert torch.allclose(ours, to_llama(model, 0)(input_ids=ids).logits, atol=2e-4)


def test_the_loss_is_the_weighted_mean_and_what_is_known_halfway_by_their_definitions():
    """The oracle reads the model through `forward` alone; halfway is a model without its upper blocks."""
    torch.manual_seed(0)
    model = World(TINY)
    ids = torch.randint(0, TINY.vocabulary, (2, 9))
    weights = torch.rand(2, 9) * (torch.rand(2, 9) > 0.5)
    known = torch.where(torch.rand(2, 9) > 0.6, torch.randint(0, TINY.vocabulary, (2, 9)), -1)
    logp = (model(ids) @ model.embed.weight.T).log_softmax(-1).detach()
    lower = World(TINY)
    lower.load_state_dict(model.state_dict())
    lower.blocks = lower.blocks[: TINY.early]
    early = (lower(ids) @ model.embed.weight.T).log_softmax(-1).detach()
    total = mass = halfway = 0.0
    for row in range(2):
        for at in range(1, 9):
            total -= float(weights[row, at] * logp[row, at - 1, ids[row, at]])
            mass += float(weights[row, at])
            if known[row, at] >= 0:
                halfway -= float(early[row, at - 1, known[row, at]])
    want = total / mass + TINY.early_weight * halfway / int((known[:, 1:] >= 0).sum())
    assert float(model.loss(Batch(ids, weights, known)).detach()) == pytest.approx(want, rel=1e-4)


def attention(model: World, block: int, ids: torch.Tensor) -> torch.Tensor:
    """Weights of the last place's attention, each (heads, places), computed apart from the block's own forward."""
    x = model.embed(ids)
    for lower in model.blocks[:block]:
        x = lower(x, model.cos[: ids.shape[1]], model.sin[: ids.shape[1]])
    chosen = model.blocks[block]
    normed = torch.nn.functional.rms_norm(x, (x.shape[-1],), chosen.before_attention, 1e-5)
    q, k, _ = chosen.qkv(normed).view(1, ids.shape[1], 3, chosen.heads, -1).permute(2, 0, 3, 1, 4)
    q, k = (rotate(part, model.cos[: ids.shape[1]], model.sin[: ids.shape[1]])[0] for part in (q, k))
    return (q[:, -1:] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)[:, 0].detach()


def test_the_start_looks_back_and_finds_what_followed():
    """Heads 0 to 2 of the first block see one, two and three places back; head 0 of the second, behind a repeat."""
    back, behind = torch.zeros(3, 16), torch.zeros(16)
    for seed in range(40):
        torch.manual_seed(seed)
        model = World(dataclasses.replace(RECIPE, layers=2))
        ids = torch.randperm(RECIPE.vocabulary)[None, :16]
        ids[0, -1] = ids[0, 10]
        back += attention(model, 0, ids)[:3] / 40
        behind += attention(model, 1, ids)[0] / 40
    assert back.argmax(-1).tolist() == [14, 13, 12] and float(back.amax(-1).min()) > 0.4
    assert int(behind.argmax()) == 11 and float(behind[11]) > 2 / 16


def test_a_letter_says_halfway_what_its_option_says(tokenizer):
    encode = encoder(tokenizer)
    options = ["baker", "tailor"]
    ids, weights, known = encode([("A. baker\nB. tailor\n", 0.0), (Letter(options, "tailor"), 2.0), ("\n", 0.05)])
    at = weights.index(2.0)
    assert tokenizer.decode(ids[at]) == " B" and " tailor".startswith(tokenizer.decode(known[at]))
    assert [k for i, k in enumerate(known) if i != at] == [-1] * (len(ids) - 1)
    ids, _, known = encode([("Q: x\nA:", 0.05), (" baker", 1.0)])
    assert [i for i, k in zip(ids, known, strict=True) if k >= 0] == tokenizer.encode(" baker")


def test_thinning_keeps_heavy_weights_and_the_mean_of_light_ones():
    """100,000 light weights of 0.05, kept one time in five at 0.25: the mean's standard error is 0.0003."""
    light, heavy = torch.full((100_000,), 0.05), torch.full((10,), 1.0)
    out = thinned(torch.cat((light, heavy)), seed=1)
    assert torch.equal(out[-10:], heavy)
    assert out[:-10].unique().tolist() == pytest.approx([0.0, 0.25])
    assert float(out[:-10].mean()) == pytest.approx(0.05, abs=0.0015)


def test_rows_hold_whole_lessons_and_padding_weighs_nothing():
    made = iter(([n] * n, [1.0] * n, [n] * n) for n in (5, 9, 4, 7, 3) * 20)
    ids, weights, known = fill([], 16, lambda: next(made), end=0, pool=5)
    assert len(ids) == len(weights) == 16
    assert known == [token or -1 for token in ids]
    for value in set(ids) - {0}:
        assert ids.count(value) % value == 0
    assert all(weight == 0.0 for token, weight in zip(ids, weights, strict=True) if token == 0)


def test_a_batch_is_a_function_of_step_and_process(tokenizer):
    encode, end = encoder(tokenizer), tokenizer.eos_token_id
    once, again = (batch(TINY, encode, end, 3, 0) for _ in range(2))
    assert torch.equal(once[0], again[0]) and torch.equal(once[1], again[1])
    assert not torch.equal(once[0], batch(TINY, encode, end, 4, 0)[0])
    assert not torch.equal(once[0], batch(TINY, encode, end, 3, 1)[0])


def test_pieces_join_into_the_same_tokens_as_the_whole_text(tokenizer):
    encode = encoder(tokenizer)
    rng = random.Random(0)
    for _ in range(300):
        lesson = draw(RECIPE.tokenizer_shares(), rng, 0.5)
        assert encode(lesson)[0][:-1] == tokenizer.encode("".join(text for text, _ in lesson))


def test_the_rate_rises_stays_and_falls():
    rates = [RECIPE.rate_at(step) for step in range(RECIPE.steps)]
    rising = int(RECIPE.warmup * RECIPE.steps)
    assert rates[0] < rates[rising // 2] < rates[rising + 1] == RECIPE.rate
    assert rates[RECIPE.steps // 2] == RECIPE.rate
    assert rates[-1] < 0.02 * RECIPE.rate
    assert all(RECIPE.shares(step) for step in range(0, RECIPE.steps, 100))
