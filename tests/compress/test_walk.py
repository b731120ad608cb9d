"""The walk: statistics equal those of the whole model, a kill changes nothing, bad ends leave nothing half-written."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmc.compress import _job, _journal, _writer
from llmc.compress._job import compress
from llmc.compress._manifest import read_manifest
from llmc.compress._plan import Job
from llmc.compress._recipe import build
from llmc.compress._walk import Walk
from llmc.data.calibration import Calibration
from llmc.errors import UserError
from llmc.models.tiny import save_tiny

TOKENS = torch.randint(3, 128, (6, 24), generator=torch.Generator().manual_seed(0))


def job(tmp_path, out="out", method="wanda", **options):
    stages = options.pop("stages", None) or (build(method, options.pop("settings", {})),)
    calibration = options.pop("calibration", Calibration(TOKENS, "random", None))
    return Job(model=tmp_path / "dense", out=tmp_path / out, stages=stages, calibration=calibration, **options)


def quiet(done, total, doing):
    pass


def weights(directory):
    return {p.name: p.read_bytes() for p in sorted(Path(directory).glob("*.safetensors"))} | {
        "config.json": (Path(directory) / "config.json").read_bytes()
    }


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


@pytest.mark.parametrize("moment", ["put", "block_done", "join"])
def test_an_interruption_at_any_step_resumes_to_the_same_bytes(tmp_path, monkeypatch, moment):
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=4)
    settings = {"bits": 4, "group_size": 32}
    compress(job(tmp_path, "whole", method="gptq", settings=settings, max_shard_bytes=60_000), quiet)
    owner = _journal.Journal if moment == "block_done" else _writer.ShardWriter
    original, calls = getattr(owner, moment), []

    def fail_late(self, *args):
        calls.append(1)
        if len(calls) == (1 if moment == "join" else 3):
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(owner, moment, fail_late)
    broken = job(tmp_path, "broken", method="gptq", settings=settings, max_shard_bytes=60_000)
    with pytest.raises(KeyboardInterrupt):
        compress(broken, quiet)
    assert not (tmp_path / "broken/config.json").exists()  # nobody can take it for a model
    monkeypatch.setattr(owner, moment, original)
    broken.resume = True
    compress(broken, quiet)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert not (tmp_path / "broken/.llmc").exists()


def test_kill_9_in_the_middle_resumes_to_the_same_bytes(tmp_path):
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=6)
    save_text(tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert llmc(tmp_path, "compress", whole).wait() == 0
    process = llmc(tmp_path, "compress", broken)
    while not (broken / ".llmc/parts/00003-block.safetensors").exists():
        assert process.poll() is None or process.returncode == 0
        if process.poll() is not None:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "llmc_manifest.json").exists()
    assert llmc(tmp_path, "compress", broken, "--resume").wait() == 0
    assert weights(broken) == weights(whole)


def save_text(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"w{i}": i for i in range(128)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="w2").save_pretrained(tmp_path / "dense")
    words = torch.randint(3, 128, (4000,), generator=torch.Generator().manual_seed(1))
    (tmp_path / "text.txt").write_text(" ".join(f"w{i}" for i in words))


def llmc(tmp_path, command, out, *more):
    arguments = [sys.executable, "-m", "llmc", command, str(tmp_path / "dense"), "--out", str(out)]
    arguments += ["--method", "gptq", "--group-size", "32", "--calibration", str(tmp_path / "text.txt")]
    arguments += ["--samples", "16", "--seq-len", "64", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    return subprocess.Popen(arguments, cwd=root, env=environment, stdout=subprocess.DEVNULL)


def test_resuming_another_run_is_refused(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    monkeypatch.setattr(_writer.ShardWriter, "join", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compress(job(tmp_path), quiet)
    with pytest.raises(UserError, match="another stages"):
        compress(job(tmp_path, settings={"sparsity": 0.6}, resume=True), quiet)
    with pytest.raises(UserError, match=r"unfinished run.*--resume"):
        compress(job(tmp_path), quiet)


def test_a_full_disk_is_one_sentence_and_leaves_no_model(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    calls = []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata)

    monkeypatch.setattr(_writer, "save_file", full)
    with pytest.raises(UserError, match=r"no space left.*--resume"):
        compress(job(tmp_path), quiet)
    assert not (tmp_path / "out/config.json").exists()
    monkeypatch.setattr(_writer, "save_file", save_file)
    compress(job(tmp_path, resume=True), quiet)
    compress(job(tmp_path, "fresh"), quiet)
    assert weights(tmp_path / "out") == weights(tmp_path / "fresh")


def test_a_directory_without_write_permission_is_one_sentence(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")

    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="can't be written to"):
        compress(job(tmp_path), quiet)


def test_too_little_space_is_said_before_any_work(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    monkeypatch.setattr(_job.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(UserError, match=r"has 0\.0 MB free and about 0\.\d MB are needed"):
        compress(job(tmp_path), quiet)
    assert not (tmp_path / "out").exists()


def test_nothing_of_the_users_is_ever_overwritten(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError):
            compress(job(tmp_path, **options), quiet)
    assert (tmp_path / "out/thesis.tex").read_text() == "years of work"
    with pytest.raises(UserError, match="the model itself"):
        compress(job(tmp_path, "dense"), quiet)


def test_a_second_run_wants_overwrite_and_a_resume_of_a_finished_run_does_nothing(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    first = compress(job(tmp_path), quiet)
    with pytest.raises(UserError, match="--overwrite"):
        compress(job(tmp_path), quiet)
    assert compress(job(tmp_path, resume=True), quiet) == first
    second = compress(job(tmp_path, settings={"sparsity": 0.25}, overwrite=True), quiet)
    assert second.totals.compressed_sparsity == pytest.approx(0.25, abs=0.01)


OTHERS = {
    "method or settings": {"settings": {"sparsity": 0.25}},
    "calibration": {"calibration": Calibration(TOKENS[:3], "random", None)},
    "dtype": {"dtype": torch.bfloat16},
    "format": {"method": "rtn", "settings": {"bits": 4, "group_size": 32}, "format": "dense"},
    "model": {},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_finished_run_of_another_command_is_not_taken_for_this_one(tmp_path, what):
    save_tiny("llama", tmp_path / "dense")
    same = {key: value for key, value in OTHERS[what].items() if what == "format" and key != "format"}
    compress(job(tmp_path, **same), quiet)
    before = weights(tmp_path / "out")
    if what == "model":
        save_tiny("llama", tmp_path / "dense", seed=1)
    with pytest.raises(UserError, match=rf"finished, and was made with another {what}; .*--overwrite"):
        compress(job(tmp_path, resume=True, **OTHERS[what]), quiet)
    assert weights(tmp_path / "out") == before


def test_overwrite_spares_what_llmc_did_not_write(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    compress(job(tmp_path), quiet)
    (tmp_path / "out/notes.txt").write_text("measured on Tuesday")
    with pytest.raises(UserError, match=r"notes\.txt as well, which llmc did not write"):
        compress(job(tmp_path, overwrite=True), quiet)
    (tmp_path / "out/notes.txt").unlink()
    (tmp_path / "out/config.json.tmp").write_text("{")  # what a kill leaves is ours
    compress(job(tmp_path, overwrite=True), quiet)
    shutil.move(tmp_path / "dense", tmp_path / "out/dense")
    inside = job(tmp_path, overwrite=True)
    inside.model = tmp_path / "out/dense"
    with pytest.raises(UserError, match="dense as well"):
        compress(inside, quiet)
    assert (tmp_path / "out/dense/config.json").exists()


def test_too_little_space_leaves_the_result_that_was_to_be_replaced(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    compress(job(tmp_path), quiet)
    before = weights(tmp_path / "out")
    monkeypatch.setattr(_job.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, -(10**9)))
    with pytest.raises(UserError, match="MB are needed"):
        compress(job(tmp_path, overwrite=True), quiet)
    assert weights(tmp_path / "out") == before


def test_a_path_through_a_file_is_one_sentence(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't be written to \(Not a directory\); choose another --out"):
        compress(job(tmp_path, "file/out"), quiet)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (("gptq", "wanda"), "wanda after gptq leaves weights that no packed format holds; put wanda before gptq"),
        (("wanda", "svd"), "svd can't keep the zeros that wanda leaves; put svd before wanda"),
    ],
)
def test_stages_in_an_order_that_cannot_be_stored_are_refused_before_the_work(tmp_path, methods, said):
    save_tiny("llama", tmp_path / "dense")
    stages = tuple(build(name, {"group_size": 32} if name == "gptq" else {}) for name in methods)
    with pytest.raises(UserError) as caught:
        compress(job(tmp_path, stages=stages), quiet)
    assert str(caught.value).startswith(said) and not (tmp_path / "out").exists()


def test_pruning_after_rounding_can_be_had_dense(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    stages = (build("gptq", {"group_size": 32}), build("wanda", {}))
    with pytest.raises(UserError, match="is not quantised"):
        compress(job(tmp_path, stages=stages, format="compressed-tensors"), quiet)
    assert not (tmp_path / "out").exists()
    account = compress(job(tmp_path, stages=stages, format="dense"), quiet)
    assert account.totals.compressed_sparsity >= 0.5


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
        outside = [n for n, p in self._skeleton.model.named_parameters() if not p.is_meta and "layers" not in n]
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
