"""For every family: compress, save, load with plain transformers, and get the in-memory result's logits."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from llmc.compress.plan import Job
from llmc.compress.recipe import build
from llmc.compress.run import compress
from llmc.compress.walk.walk import Walk
from llmc.data.calibration import Calibration
from llmc.models.experts import split_experts
from llmc.models.layout import find_blocks, matrices
from llmc.models.tiny import FAMILIES, save_tiny

original_stage = Walk._stage


def calibration(n=4, length=24, vocab=128, seed=0):
    tokens = torch.randint(3, vocab, (n, length), generator=torch.Generator().manual_seed(seed))
    return Calibration(tokens, "random", None)


def run(model, out, *stages, **options):
    return compress(
        Job(
            model=model, out=out, stages=tuple(stages), calibration=options.pop("calibration", calibration()), **options
        ),
        lambda done, total, doing: None,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loaded_model_computes_what_the_walk_had_in_memory(family, tmp_path, monkeypatch):
    """The walk's own outputs of its last compressed block against plain transformers on the written files."""
    save_tiny(family, tmp_path / "dense")
    last = {}
    original = Walk._write

    def keep_output(self, index, block, layers):
        last["hidden"] = self._caller(index, last["batch"]) if "batch" in last else None
        return original(self, index, block, layers)

    def see_input(self, index, method, layers, hidden, *, last_stage=original_stage, **options):
        last["batch"] = hidden[0]
        return last_stage(self, index, method, layers, hidden, **options)

    monkeypatch.setattr(Walk, "_write", keep_output)
    monkeypatch.setattr(Walk, "_stage", see_input)
    tokens = calibration().tokens
    run(tmp_path / "dense", tmp_path / "out", build("sparsegpt", {"pattern": "2:4"}))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    _, blocks = find_blocks(loaded)
    seen = {}
    blocks[-1].register_forward_hook(lambda _, args, out: seen.update(out=out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        loaded(tokens, use_cache=False)
    assert (seen["out"] - last["hidden"]).abs().max() < 1e-5 * seen["out"].abs().max().clamp(min=1)


@pytest.mark.parametrize("family", FAMILIES)
def test_pruning_every_family_loads_with_plain_transformers(family, tmp_path):
    dense = save_tiny(family, tmp_path / "dense")
    account = run(tmp_path / "dense", tmp_path / "out", build("wanda", {"sparsity": 0.5}))
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"] and not info["unexpected_keys"]
    prefix, blocks = find_blocks(loaded)
    _, dense_blocks = find_blocks(dense)
    records = {r.name: r for r in account.matrices}
    for i, (new, old) in enumerate(zip(blocks, dense_blocks, strict=True)):
        split_experts(new, "block")
        split_experts(old, "block")
        olds = {m.name: m.weight for m in matrices(old)}
        for m in matrices(new):
            record = records.pop(f"{prefix}.{i}.{m.name}")
            zeros = (m.weight == 0).sum(1)
            assert (zeros == round(m.weight.shape[1] * 0.5)).all(), record.name
            assert torch.equal(m.weight[m.weight != 0], olds[m.name][m.weight != 0])  # kept weights are untouched
            assert record.sparsity == pytest.approx(0.5, abs=0.02)
    assert not records  # the manifest names every matrix, and no other


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in {"gpt2", "falcon"}])
def test_packed_files_give_the_logits_of_the_dense_file_with_the_same_levels(family, tmp_path):
    """Two routes to one model: packed by compressed-tensors and unpacked by its library, and stored dense by us."""
    save_tiny(family, tmp_path / "dense")
    stage = build("gptq", {"bits": 4, "group_size": 32})
    run(tmp_path / "dense", tmp_path / "packed", stage)
    run(tmp_path / "dense", tmp_path / "plain", stage, format="dense")
    tokens = calibration(2, 12, seed=1).tokens
    packed = AutoModelForCausalLM.from_pretrained(tmp_path / "packed")
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    with torch.no_grad():
        got, want = packed(tokens).logits, plain(tokens).logits
    assert (got - want).abs().max() < 1e-5
    assert (tmp_path / "packed" / "config.json").read_text().count("pack-quantized")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama-tied", "gpt2", "mixtral"])
def test_every_stored_dtype_is_kept(family, dtype, tmp_path):
    save_tiny(family, tmp_path / "dense", dtype=dtype)
    account = run(tmp_path / "dense", tmp_path / "out", build("magnitude", {"sparsity": 0.5}))
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert {p.dtype for p in loaded.parameters()} == {dtype}
    assert account.totals.compressed_sparsity == pytest.approx(0.5, abs=0.01)


def test_a_sharded_checkpoint_gives_the_bytes_of_a_single_one(tmp_path):
    save_tiny("llama", tmp_path / "one")
    save_tiny("llama", tmp_path / "many", shard_size="100KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    stage = build("wanda", {"pattern": "2:4"})
    for name in ("one", "many"):
        run(tmp_path / name, tmp_path / f"{name}-out", stage)
    assert (tmp_path / "one-out/model.safetensors").read_bytes() == (
        tmp_path / "many-out/model.safetensors"
    ).read_bytes()


def test_output_shards_hold_what_one_file_holds(tmp_path):
    save_tiny("qwen3", tmp_path / "dense")
    stage = build("magnitude", {})
    run(tmp_path / "dense", tmp_path / "one", stage)
    run(tmp_path / "dense", tmp_path / "many", stage, max_shard_bytes=150_000)
    assert (tmp_path / "many/model.safetensors.index.json").exists()
    one = AutoModelForCausalLM.from_pretrained(tmp_path / "one").state_dict()
    many = AutoModelForCausalLM.from_pretrained(tmp_path / "many").state_dict()
    assert one.keys() == many.keys() and all(torch.equal(one[k], many[k]) for k in one)


def test_factors_are_read_back_by_llmc_load_and_merged_ones_by_everything(tmp_path):
    import llmc

    save_tiny("llama", tmp_path / "dense")
    stage = build("svd", {"rank_ratio": 0.5})
    thin = run(tmp_path / "dense", tmp_path / "thin", stage, format="factors")
    merged = run(tmp_path / "dense", tmp_path / "merged", stage)
    tokens = calibration(2, 12, seed=1).tokens
    with torch.no_grad():
        got = llmc.load(tmp_path / "thin")(tokens).logits
        want = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")(tokens).logits
    assert (got - want).abs().max() < 1e-4
    assert thin.totals.bytes_on_disk < thin.totals.bytes_on_disk_before
    assert thin.totals.parameters < thin.totals.parameters_before == merged.totals.parameters
    assert any("full matrices" in text for text in merged.warnings)
    tensors = sum(p.numel() for p in llmc.load(tmp_path / "thin").parameters())
    assert thin.totals.parameters == tensors
