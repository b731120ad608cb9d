"""The walk: statistics equal those of the whole model, what is written is true, and damage is named."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from llmc.compress.manifest import read_manifest
from llmc.compress.recipe import build
from llmc.compress.run import compress
from llmc.compress.walk.walk import Walk
from llmc.data.calibration import Calibration
from llmc.errors import UserError
from llmc.models.tiny import save_tiny
from tests.compress.jobs import TOKENS, job, quiet


def test_statistics_are_those_of_hooks_on_the_whole_model(tmp_path, monkeypatch):
    """At sparsity 0 no block changes, so every layer must see what it sees in one forward of the dense model."""
    model = save_tiny("qwen2", tmp_path / "dense")
    want = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and "layers" in name:
            module.register_forward_pre_hook(
                lambda _, args, name=name: want.__setitem__(name, args[0].reshape(-1, args[0].shape[-1]))
            )
    with torch.no_grad():
        model(TOKENS)
    seen = {}
    stage = build("gptq", {"bits": 8, "group_size": -1})
    kind = type(stage)
    original = kind.compress

    def spy(self, weight, stats, keep=None):
        seen[len(seen)] = (stats.n_tokens, stats.gram.clone(), stats.sq_norm.clone())
        result = original(self, weight, stats, keep)
        import dataclasses

        return dataclasses.replace(result, weight=weight, quantised=None)  # nothing moves

    monkeypatch.setattr(kind, "compress", spy)
    compress(job(tmp_path, stages=(stage,), format="dense"), quiet)
    names = [f"model.layers.{i}.{m}" for i in range(2) for m in [
        "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
        "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]]  # fmt: skip
    assert len(seen) == len(names)
    for name, (n_tokens, gram, sq_norm) in zip(names, seen.values(), strict=True):
        x = want[name]
        assert n_tokens == len(x) == TOKENS.numel()
        torch.testing.assert_close(gram, x.T @ x, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sq_norm, x.square().sum(0), rtol=1e-4, atol=1e-4)


def test_the_reported_error_is_the_output_error_by_its_definition(tmp_path):
    """Recomputed from the written weights and the first block's real inputs."""
    dense = save_tiny("llama", tmp_path / "dense")
    account = compress(job(tmp_path, method="gptq", settings={"bits": 3, "group_size": 32}, format="dense"), quiet)
    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    inputs = {}
    layer = dense.model.layers[0].self_attn.q_proj
    layer.register_forward_pre_hook(lambda _, args: inputs.update(x=args[0].reshape(-1, 64)))
    with torch.no_grad():
        dense(TOKENS)
        x, change = inputs["x"], new.model.layers[0].self_attn.q_proj.weight - layer.weight
        want = (x @ change.T).square().sum() / (x @ layer.weight.T).square().sum()
    record = next(r for r in account.matrices if r.name == "model.layers.0.self_attn.q_proj")
    assert record.relative_output_error == pytest.approx(float(want), rel=1e-3)
    assert record.error_over_tokens == TOKENS.numel()


def test_pruning_then_gptq_keeps_the_mask_exactly(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    stages = (build("wanda", {"pattern": "2:4"}), build("gptq", {"bits": 4, "group_size": 32}))
    compress(job(tmp_path, "both", stages=stages), quiet)
    compress(job(tmp_path, "mask", stages=stages[:1]), quiet)
    both = AutoModelForCausalLM.from_pretrained(tmp_path / "both")
    with torch.no_grad():
        both(TOKENS[:1])
    mask = load_file(tmp_path / "mask/model.safetensors")["model.layers.0.self_attn.q_proj.weight"] == 0
    weight = both.model.layers[0].self_attn.q_proj.weight
    assert (weight[mask] == 0).all()
    assert ((weight != 0).view(64, -1, 4).sum(-1) <= 2).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_named_with_their_batch_and_layer(tmp_path, value):
    model = save_tiny("llama", tmp_path / "dense")
    model.model.embed_tokens.weight.data[100] = value
    model.save_pretrained(tmp_path / "dense")
    tokens = TOKENS.clamp(max=99).repeat(60, 1)  # batches of 85 sequences: row 200 is in the third
    tokens[200, 3] = 100
    with pytest.raises(UserError, match=r"model\.layers\.0\.self_attn\.q_proj got NaN or infinity.*batch 2"):
        compress(job(tmp_path, calibration=Calibration(tokens, "random", None)), quiet)


@pytest.mark.parametrize("method", ["wanda", "magnitude"])
def test_a_damaged_matrix_is_named_itself_and_not_the_one_that_reads_its_output(tmp_path, method):
    model = save_tiny("llama", tmp_path / "dense")
    model.model.layers[1].self_attn.q_proj.weight.data[3, 4] = float("nan")
    model.save_pretrained(tmp_path / "dense")
    with pytest.raises(UserError, match=r"^model\.layers\.1\.self_attn\.q_proj holds NaN or infinity; the checkpoint"):
        compress(job(tmp_path, method=method), quiet)


def test_a_weight_that_a_narrow_dtype_cannot_hold_is_refused(tmp_path):
    model = save_tiny("llama", tmp_path / "dense")
    model.model.layers[0].mlp.up_proj.weight.data[0, 0] = 1e6
    model.save_pretrained(tmp_path / "dense")
    with pytest.raises(UserError, match=r"up_proj holds NaN or infinity in torch\.float16; leave --dtype out"):
        compress(job(tmp_path, method="magnitude", dtype=torch.float16), quiet)


def test_a_damaged_embedding_that_calibration_never_reads_is_said(tmp_path, caplog):
    model = save_tiny("llama", tmp_path / "dense")
    model.model.embed_tokens.weight.data[100] = float("nan")
    model.save_pretrained(tmp_path / "dense")
    compress(job(tmp_path, calibration=Calibration(TOKENS.clamp(max=99), "random", None)), quiet)
    assert "model.embed_tokens.weight holds NaN" in caplog.text


def test_too_few_tokens_for_a_width_are_said(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    few = Calibration(TOKENS[:1, :20], "random", None)
    account = compress(job(tmp_path, method="sparsegpt", calibration=few), quiet)
    texts = [text for record in account.matrices for text in record.warnings]
    assert any("20 calibration tokens for 64 inputs" in text for text in texts)


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage", "pickle", "config"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, damage):
    save_tiny("llama", tmp_path / "dense", shard_size="100KB")
    shard = sorted((tmp_path / "dense").glob("*.safetensors"))[1]
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        shard.write_bytes(shard.read_bytes()[:-100])
    elif damage == "garbage":
        shard.write_bytes(b"not a model")
    elif damage == "config":
        (tmp_path / "dense/config.json").write_text("{")
    else:
        shutil.rmtree(tmp_path / "dense")
        (tmp_path / "dense").mkdir()
        (tmp_path / "dense/config.json").write_text("{}")
        (tmp_path / "dense/pytest.bin").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        compress(job(tmp_path), quiet)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_the_manifest_tells_the_truth_about_the_files(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    compress(job(tmp_path, method="gptq", settings={"bits": 4, "group_size": 32}), quiet)
    account = read_manifest(tmp_path / "out")
    files = list((tmp_path / "out").glob("*.safetensors"))
    assert account.totals.bytes_on_disk == sum(f.stat().st_size for f in files)
    tensors = load_file(files[0])
    assert account.totals.memory_bytes == sum(t.numel() * t.element_size() for t in tensors.values())
    assert account.totals.bytes_on_disk < account.totals.bytes_on_disk_before
    text = (tmp_path / "out/llmc_manifest.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in a manifest"))


def test_the_order_of_blocks_in_memory_does_not_grow_with_depth(tmp_path, monkeypatch):
    """At most one block besides the first is ever filled."""
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=6)
    most = []
    original = Walk._stage

    def count(self, index, *args, **kwargs):
        filled = [i for i, b in enumerate(self._blocks) if any(not p.is_meta for p in b.parameters())]
        most.append(filled)
        outside = [
            n for n, p in self._skeleton.model.named_parameters() if not p.is_meta and p.dim() > 1 and "layers" not in n
        ]
        assert not outside
        return original(self, index, *args, **kwargs)

    monkeypatch.setattr(Walk, "_stage", count)
    compress(job(tmp_path), quiet)
    assert most == [[i] for i in range(6)]


@pytest.mark.parametrize("family", ["llama", "gemma3", "opt", "phi", "gpt2", "qwen3-moe"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_moving_scales_leaves_the_model_as_it_was(family, dtype, tmp_path, monkeypatch):
    """AWQ's scales with the rounding taken out: the logits must be those of the dense model."""
    import dataclasses

    dense = save_tiny(family, tmp_path / "dense", dtype=dtype)
    stage = build("awq", {"bits": 3, "group_size": 32, "clip": False})
    original, found = type(stage).balance, []
    monkeypatch.setattr(type(stage), "balance", lambda self, block: found.extend(original(self, block)) or found[-1:])
    monkeypatch.setattr(
        type(stage),
        "compress",
        lambda self, weight, stats, keep=None: dataclasses.replace(
            build("magnitude", {"sparsity": 0.0}).compress(weight, stats), keep=None
        ),
    )
    account = compress(job(tmp_path, stages=(stage,), format="dense"), quiet)
    assert any(pair.alpha is not None for pair in found)  # some scale did move
    new = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    with torch.no_grad():
        want, got = dense.float()(TOKENS[:2]).logits, new(TOKENS[:2]).logits
    bound = 1e-4 if dtype == torch.float32 else 0.05  # bfloat16 keeps 8 bits of what was scaled
    assert (got - want).norm() / want.norm() < bound
    assert account.totals.mean_relative_output_error < 1e-6  # measured against the scaled weights


def test_awq_is_not_worse_than_rounding_on_a_model_with_loud_channels(tmp_path):
    """Channels ten times louder than the rest are what activation-aware scales are for."""
    model = save_tiny("llama", tmp_path / "dense")
    for layer in model.model.layers:
        layer.input_layernorm.weight.data[::16] *= 10
        layer.post_attention_layernorm.weight.data[::16] *= 10
    model.save_pretrained(tmp_path / "dense")
    settings = {"bits": 3, "group_size": 32}
    errors = {}
    for method in ("rtn", "awq"):
        compress(job(tmp_path, method, method=method, settings=settings, format="dense"), quiet)
        new = AutoModelForCausalLM.from_pretrained(tmp_path / method)
        with torch.no_grad():
            errors[method] = float((new(TOKENS).logits - model(TOKENS).logits).square().mean())
    assert errors["awq"] < 0.8 * errors["rtn"]


@pytest.mark.parametrize(
    ("method", "settings", "fmt"),
    [("rtn", {"group_size": 32}, None), ("svd", {"rank_ratio": 0.5}, "factors"), ("rtn", {"group_size": 32}, "gptq")],
)
def test_what_is_compressed_already_is_not_compressed_again(tmp_path, method, settings, fmt):
    """Its tensors are codes or factors: read as weights they would be nonsense."""
    save_tiny("llama", tmp_path / "dense", hidden_size=64, intermediate_size=128)
    compress(job(tmp_path, "first", method=method, settings=settings, format=fmt), quiet)
    again = job(tmp_path, "second", method="magnitude")
    again.model = tmp_path / "first"
    with pytest.raises(UserError, match="compressed already"):
        compress(again, quiet)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(("method", "settings", "told"), [("wanda", {}, False), ("gptq", {"group_size": -1}, True)])
def test_only_who_reads_a_gram_matrix_is_told_that_it_is_singular(method, settings, told, tmp_path):
    save_tiny("llama", tmp_path / "dense")
    few = Calibration(TOKENS[:1], "random", None)
    compress(job(tmp_path, method=method, settings=settings, calibration=few, format="dense"), quiet)
    said = [sentence for record in read_manifest(tmp_path / "out").matrices for sentence in record.warnings]
    assert any("Gram matrix singular" in sentence for sentence in said) == told
