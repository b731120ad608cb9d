"""What the engine must know of a model before it pads or shares: whether padding or a cache would change its logits."""

import pytest
import torch
from transformers import AutoConfig

from llmc.errors import UserError
from llmc.evaluate.engine.likelihood import score, target
from llmc.evaluate.engine.network import Network
from llmc.models import shrink
from llmc.models.shrink import habits, small_model

KINDS = ("llama", "gemma3_text", "gpt_oss", "qwen3_next", "mamba2", "falcon_h1", "glm_moe_dsa", "doge", "moshi", "lfm2")


@pytest.mark.parametrize("kind", KINDS)
def test_log_likelihoods_are_those_of_plain_forwards(kind):
    """Rows that share beginnings, longer than the windows of the copies, in batches and one by one."""
    model = small_model(AutoConfig.for_model(kind))
    generator = torch.Generator().manual_seed(1)

    def some(n):
        return torch.randint(3, 120, (n,), generator=generator).tolist()

    first = some(40)
    beginnings = [first, first[:30] + some(13), some(2)]
    targets = [target(beginnings[i % 3], some(3 + i * 5 % 17), 100) for i in range(12)]
    got = {i: each for batch in score(Network(model), targets, 256) for i, each in batch}
    for i, each in enumerate(targets):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([each.row()]), use_cache=False).logits[0].log_softmax(-1)
        wanted = sum(float(logits[k - each.n_scored, t]) for k, t in enumerate(each.tokens[-each.n_scored :]))
        assert got[i].loglikelihood == pytest.approx(wanted, abs=1e-4 * each.n_scored)


def test_habits_are_seen():
    assert habits(AutoConfig.for_model("llama")) == (False, False, True)
    assert habits(AutoConfig.for_model("glm_moe_dsa")).reads_ahead
    assert habits(AutoConfig.for_model("moshi")).forgets


def test_a_model_that_reads_ahead_is_refused():
    with pytest.raises(UserError, match="BertLMHeadModel reads tokens that come after"):
        Network(small_model(AutoConfig.for_model("bert")))
    Network(small_model(AutoConfig.for_model("bert", is_decoder=True)))


def test_where_no_copy_can_be_run_rows_run_alone_and_share_nothing(monkeypatch):
    def fails(config):
        raise RuntimeError("no such thing")

    model = small_model(AutoConfig.for_model("llama", rope_theta=12345.0))
    monkeypatch.setattr(shrink, "small_model", fails)
    shrink._habits.cache_clear()
    network = Network(model)
    shrink._habits.cache_clear()
    assert network.alone and "no small copy" in network.why_not_shared
