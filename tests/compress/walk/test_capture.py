"""Blocks get what the model itself gives them, batch by batch; a killed run of blocks that share is still right."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from llmc.compress.recipe import build
from llmc.compress.run import compress
from llmc.compress.walk.capture import Caller, hidden_of
from llmc.compress.walk.journal import Journal
from llmc.compress.walk.walk import Walk
from llmc.data.calibration import Calibration
from llmc.models.layout import find_blocks
from llmc.models.shrink import small_model
from llmc.models.skeleton import Skeleton
from tests.compress.jobs import TOKENS, job, quiet, weights

GEMMA4 = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 8,
}
KINDS = {"gemma4_text": GEMMA4, "glm_moe_dsa": {}, "qwen3_next": {}, "gpt_oss": {}, "falcon_h1": {}, "mamba2": {}}


def saved(kind, place, **settings):
    model = small_model(AutoConfig.for_model(kind, **settings))
    model.save_pretrained(place)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_every_batch_sees_its_own_arguments_in_every_block(kind, tmp_path):
    """Nothing is compressed: the walk's output of each block is the model's own, batch by batch."""
    saved(kind, tmp_path / "dense", **KINDS[kind])
    batches = [torch.randint(3, 120, (2, 24), generator=torch.Generator().manual_seed(i)) for i in range(3)]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.float32).eval()
    seen = {}
    for index, block in enumerate(find_blocks(model)[1]):
        block.register_forward_hook(
            lambda _, args, out, index=index: seen.setdefault(index, []).append(
                out[0] if isinstance(out, tuple) else out
            )
        )
    with torch.no_grad():
        for tokens in batches:
            model.base_model(input_ids=tokens, use_cache=False)
    skeleton = Skeleton(tmp_path / "dense", torch.float32)
    walk = Walk(skeleton, (), None, None, Journal(tmp_path, {}))
    runs = walk._start(batches)
    depth = len(find_blocks(skeleton.model)[1])
    for index in range(depth):
        skeleton.fill(f"{walk.prefix}.{index}.")
        for number, run in enumerate(runs):
            walk._caller(index, run)  # a look must not change what comes after
            out = walk._caller.advance(index, run, last=index + 1 == depth)
            got = out[0] if isinstance(out, tuple) else out
            assert (got - seen[index][number]).norm() < 1e-5 * seen[index][number].norm(), (index, number)
    walk._caller.stop()


@pytest.mark.parametrize(("kind", "block"), [("gemma4_text", 1), ("gemma4_text", 3), ("glm_moe_dsa", 1), ("mamba2", 2)])
def test_a_killed_run_ends_in_the_same_bytes(kind, block, tmp_path, monkeypatch):
    saved(kind, tmp_path / "dense", **KINDS[kind])
    options = {
        "stages": (build("gptq", {"bits": 4, "group_size": -1}),),
        "calibration": Calibration(TOKENS.clamp(max=119), "random", None),
        "format": "dense",
    }
    compress(job(tmp_path, "whole", **options), quiet)
    original = Walk._write

    def dies(self, index, *rest):
        if index == block:
            raise KeyboardInterrupt
        return original(self, index, *rest)

    monkeypatch.setattr(Walk, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        compress(job(tmp_path, "part", **options), quiet)
    monkeypatch.setattr(Walk, "_write", original)
    compress(job(tmp_path, "part", resume=True, **options), quiet)
    assert weights(tmp_path / "whole") == weights(tmp_path / "part")


def test_embedded_tokens_are_let_go_of_once_block_0_has_run(tmp_path):
    """Behind it one NaN stands in their place, and every later block still gets the model's own numbers."""
    saved("llama", tmp_path)
    skeleton = Skeleton(tmp_path, torch.float32)
    prefix, blocks = find_blocks(skeleton.model)
    skeleton.fill("")
    caller = Caller(skeleton, prefix, blocks)
    tokens = torch.arange(3, 27).view(2, 12)
    (run,) = caller.start([tokens])
    embedded = run.embedded[0]
    assert len(run.embedded) == 2 and embedded.isfinite().all()
    outputs = [caller.advance(index, run, last=index + 1 == len(blocks)) for index in range(len(blocks))]
    assert embedded.shape == (2, 12, embedded.shape[-1]) and embedded.isnan().all()
    assert embedded.untyped_storage().nbytes() == embedded.element_size()
    plain = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    wanted = {}
    find_blocks(plain)[1][-1].register_forward_hook(lambda module, args, out: wanted.update(out=hidden_of(out)))
    with torch.no_grad():
        plain.base_model(input_ids=tokens, use_cache=False)
    assert torch.equal(hidden_of(outputs[-1]), wanted["out"])
