"""`embeddings`: what is written is the rounded table, calibration ran on it, the account is true; what is refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from llmc.compress.manifest import read_manifest
from llmc.compress.plan import plan
from llmc.compress.recipe import build, read_recipe
from llmc.compress.run import compress
from llmc.compress.table_trial import try_small_tables
from llmc.compress.tables import group_size_for, relative_error
from llmc.compress.walk import rounded_tables, walk
from llmc.errors import UserError
from llmc.models.load import load_model
from llmc.models.tiny import FAMILIES, save_tiny, tiny_model
from tests.compress.formats.checkpoints import round_to_nearest
from tests.compress.jobs import TOKENS, job, quiet, weights
from tests.compress.test_verify import spoil

GRID = {"bits": 4, "group_size": 32}


@pytest.fixture(autouse=True)
def nothing_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def table_job(tmp_path, **options):
    return job(tmp_path, **{"method": "rtn", "settings": GRID, "embeddings": 8, "calibration": None} | options)


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits.float()


@pytest.mark.parametrize("family, bits", [("llama", 8), ("llama-tied", 4), ("gemma3", 8), ("phi", 4), ("opt", 8)])
def test_the_loaded_model_is_the_dense_one_with_the_rounded_tables(tmp_path, family, bits):
    """The reference is put together by the definition of rounding, and by the layers that were written dense."""
    source = save_tiny(family, tmp_path / "dense", dtype=torch.bfloat16)
    compress(table_job(tmp_path, embeddings=bits), quiet)
    compress(table_job(tmp_path, out="layers", embeddings=None, format="dense"), quiet)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "layers").eval()
    head, embedding = reference.get_output_embeddings(), reference.get_input_embeddings()
    tied = head.weight is embedding.weight
    for module, old in ((embedding, source.get_input_embeddings()), (head, source.get_output_embeddings())):
        module.weight.data = round_to_nearest(old.weight.data, bits=bits, group_size=32).weight
    loaded = load_model(tmp_path / "out")
    assert torch.equal(logits(loaded), logits(reference))
    records = [r for r in read_manifest(tmp_path / "out").matrices if r.block is None]
    assert len(records) == (1 if tied else 2) and {(r.bits, r.group_size) for r in records} == {(bits, 32)}


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in ("gpt2", "falcon", "mixtral", "qwen3-moe")])
def test_every_family_computes_packed_what_it_computes_dense(tmp_path, family):
    config = tiny_model(family).config
    config.name_or_path = ""
    assert try_small_tables(config, table_job(tmp_path), lambda small: _untried(small)) is None


def _untried(small):
    from llmc.compress.run import compress_untried

    return compress_untried(small, *plan(small))


def test_calibration_runs_on_the_rounded_embedding(tmp_path):
    """Block 0's inputs are those of the model with its embedding rounded, so its Gram matrix is of those too."""
    source = save_tiny("gemma3", tmp_path / "dense")
    seen = []
    stage = build("gptq", GRID | {"mse": False})
    kind = type(stage)

    def spy(self, weight, stats, keep=None):
        seen.append(stats.gram.clone())
        return kind.compress(self, weight, stats, keep)

    spied = type("Spy", (kind,), {"compress": spy})(**dataclasses.asdict(stage))
    account = compress(job(tmp_path, stages=(spied,), embeddings=4), quiet)
    weight = source.get_input_embeddings().weight.data
    new = round_to_nearest(weight, bits=4, group_size=32).weight
    source.get_input_embeddings().weight.data = new
    inputs = []
    source.model.layers[0].self_attn.q_proj.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    logits(source)
    x = inputs[0].reshape(-1, 64)
    torch.testing.assert_close(seen[-14], x.T @ x, rtol=1e-4, atol=1e-3)
    (record,) = [r for r in account.matrices if r.block is None]
    rows, change = weight[TOKENS.reshape(-1)], (weight - new)[TOKENS.reshape(-1)]
    assert record.relative_output_error == pytest.approx(float(change.square().sum() / rows.square().sum()), rel=1e-5)
    assert record.relative_weight_error == pytest.approx(
        float((weight - new).square().sum() / weight.square().sum()), rel=1e-5
    )
    assert record.n_tokens == record.error_over_tokens == TOKENS.numel()


def test_the_account_of_sizes_is_that_of_the_files(tmp_path):
    save_tiny("llama-tied", tmp_path / "dense", dtype=torch.bfloat16)
    account = compress(table_job(tmp_path), quiet)
    tensors = load_file(tmp_path / "out/model.safetensors")
    assert account.totals.memory_bytes == sum(t.nbytes for t in tensors.values()) and account.embeddings == 8
    assert "model.embed_tokens.weight" not in tensors and not [name for name in tensors if "lm_head" in name]
    assert tensors["model.embed_tokens.weight_packed"].nbytes == 128 * 64  # a byte a weight
    (record,) = [r for r in account.matrices if r.block is None]
    assert record.bits_per_weight == 8 + 16 / 32
    layers = [r for r in account.matrices if r.block is not None]
    assert {(r.bits, r.group_size) for r in layers} == {(4, 32)}
    n = sum(r.shape[0] * r.shape[1] for r in layers)
    assert account.totals.compressed_bits_per_weight == pytest.approx((n * 4.5 + 128 * 64 * 8.5) / (n + 128 * 64))
    assert account.totals.parameters == account.totals.parameters_before


def test_on_the_layers_grid_plain_transformers_loads_it_and_on_another_it_says_that_it_cannot(tmp_path):
    save_tiny("llama", tmp_path / "dense", dtype=torch.bfloat16)
    same = compress(table_job(tmp_path, embeddings=4), quiet)
    plain, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert torch.equal(logits(plain.eval()), logits(load_model(tmp_path / "out")))
    other = compress(table_job(tmp_path, out="other", embeddings=8), quiet)
    with pytest.raises(AttributeError, match="no attribute 'weight'"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "other")
    assert "plain transformers decodes all of it" in same.warnings[-1]
    assert "only llmc.load reads this file rightly" in other.warnings[-1]


def test_one_group_a_row_of_a_width_that_fills_no_word_loads_in_plain_transformers_too(tmp_path):
    sizes = {"hidden_size": 60, "intermediate_size": 100, "head_dim": 16}
    save_tiny("llama-tied", tmp_path / "dense", dtype=torch.bfloat16, **sizes)
    compress(table_job(tmp_path, embeddings=4, settings={"bits": 4, "group_size": -1}), quiet)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert torch.equal(logits(plain), logits(load_model(tmp_path / "out")))


def test_config_json_names_the_tables_and_the_rest_by_class(tmp_path):
    save_tiny("llama-tied", tmp_path / "dense")
    compress(table_job(tmp_path), quiet)
    said = json.loads((tmp_path / "out/config.json").read_text())["quantization_config"]
    layers, tables = said["config_groups"].values()
    assert layers["targets"] == ["Linear"] and tables["targets"] == [r"re:model\.embed_tokens$"]
    assert (layers["weights"]["num_bits"], tables["weights"]["num_bits"]) == (4, 8)
    assert said["ignore"] == ["lm_head"] and "dequantize" not in said


def test_dense_files_hold_the_rounded_values_and_say_that_nothing_is_saved(tmp_path):
    source = save_tiny("llama-tied", tmp_path / "dense")
    account = compress(table_job(tmp_path, format="dense", embeddings=4), quiet)
    want = round_to_nearest(source.get_input_embeddings().weight.data, bits=4, group_size=32).weight
    assert torch.equal(load_file(tmp_path / "out/model.safetensors")["model.embed_tokens.weight"], want)
    assert any("embeddings have 4-bit levels but are stored dense" in sentence for sentence in account.warnings)


def test_a_head_that_repeats_the_tied_embedding_is_left_out(tmp_path):
    save_tiny("llama-tied", tmp_path / "dense")
    path = tmp_path / "dense/model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, path, metadata={"format": "pt"})
    compress(table_job(tmp_path), quiet)
    names = {name.rpartition(".")[0] for name in load_file(tmp_path / "out/model.safetensors")}
    assert len(names & {"lm_head", "model.embed_tokens"}) == 1
    load_model(tmp_path / "out")


@pytest.mark.parametrize("stop", [0, 1])
def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, monkeypatch, stop):
    """Killed after the tables were written and before block 0, or between the blocks."""
    save_tiny("llama", tmp_path / "dense")
    how = {"method": "gptq", "settings": GRID, "embeddings": 4}
    whole = compress(job(tmp_path, out="whole", **how), quiet)
    done = walk.Journal.block_done

    def killed(self, *rest):
        if self.n_done == stop:
            raise KeyboardInterrupt
        done(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(walk.Journal, "block_done", killed)
        with pytest.raises(KeyboardInterrupt):
            compress(job(tmp_path, **how), quiet)
    if stop:
        with pytest.raises(UserError, match=r"unfinished run with another embeddings \(4, not 8\)"):
            compress(job(tmp_path, resume=True, **how | {"embeddings": 8}), quiet)
    account = compress(job(tmp_path, resume=True, **how), quiet)
    assert weights(tmp_path / "out") == weights(tmp_path / "whole")
    assert [(r.name, r.relative_output_error) for r in account.matrices] == [
        (r.name, r.relative_output_error) for r in whole.matrices
    ]
    with pytest.raises(UserError, match="made with another number of bits for the embeddings"):
        compress(job(tmp_path, resume=True, **how | {"embeddings": None}), quiet)


def test_a_table_that_is_written_wrong_is_found_at_the_end(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")

    def one_code(tensors):
        tensors["lm_head.weight_packed"][3, 0] ^= 1

    compress(table_job(tmp_path, out="before"), quiet)  # the small copy is tried, and remembered
    spoil(monkeypatch, "00000-rest", one_code)
    with pytest.raises(UserError, match=r"lm_head\.weight is not the tensor that stood in memory"):
        compress(table_job(tmp_path), quiet)


def test_calibration_on_another_embedding_than_is_written_is_found_at_the_end(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    monkeypatch.setattr(rounded_tables.RoundedTables, "put_embedding", lambda self: None)
    with pytest.raises(UserError, match="block 0 rebuilt from the files"):
        compress(job(tmp_path, method="gptq", settings=GRID, embeddings=4), quiet)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"embeddings": 3}, "embeddings must have 8 or 4 bits, got 3"),
        ({"method": "wanda", "settings": {}}, "wanda quantises nothing"),
        ({"method": "svd", "settings": {}, "format": "factors"}, "svd quantises nothing"),
        ({"format": "gptq"}, "'gptq' has no place for quantised embeddings"),
        ({"format": "gptq_v2"}, "'gptq_v2' has no place for quantised embeddings"),
        ({"format": "awq"}, "'awq' has no place for quantised embeddings"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(tmp_path, options, said):
    save_tiny("llama", tmp_path / "dense", dtype=torch.bfloat16)
    with pytest.raises(UserError, match=said) as caught:
        compress(table_job(tmp_path, **options), quiet)
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_packed_experts_want_embeddings_on_their_grid(tmp_path):
    save_tiny("mixtral", tmp_path / "dense")
    with pytest.raises(UserError, match=r"experts\.0\.w1 is an expert, which transformers reads"):
        compress(table_job(tmp_path), quiet)
    compress(table_job(tmp_path, embeddings=4), quiet)
    compress(table_job(tmp_path, out="dense4", embeddings=4, format="dense"), quiet)
    assert torch.equal(logits(load_model(tmp_path / "out")), logits(load_model(tmp_path / "dense4")))


def test_an_embedding_that_holds_nan_is_refused_and_other_embeddings_are_said_to_stay(tmp_path):
    save_tiny("opt", tmp_path / "dense")
    account = compress(table_job(tmp_path), quiet)
    assert any("embed_positions (8,320 weights) is no token embedding" in sentence for sentence in account.warnings)
    path = tmp_path / "dense/model.safetensors"
    tensors = load_file(path)
    tensors["model.decoder.embed_tokens.weight"][3, 3] = float("nan")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"embed_tokens\.weight holds NaN or infinity"):
        compress(table_job(tmp_path, out="bad"), quiet)


def test_the_group_is_the_layers_or_the_largest_power_of_two_below_it_that_fits():
    for width in (576, 640, 64, 96, 100, 2048, 7):
        for wanted in (8, 16, 32, 64, 128, 256, 96):
            fitting = [s for s in (8, 16, 32, 64, 128, 256, 512, 1024, 2048) if s < wanted and width % s == 0]
            want = wanted if width % wanted == 0 else max(fitting, default=-1)
            assert group_size_for(width, wanted) == want
        assert group_size_for(width, -1) == -1


def test_the_relative_error_counts_rows_and_has_no_value_without_any():
    dense, new = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[3.0, 3.0], [0.0, 0.0]])
    assert relative_error(dense, new) == pytest.approx(2 / 26)
    assert relative_error(dense, new, torch.tensor([2, 3])) == pytest.approx((2 + 3) / (50 + 3))
    assert relative_error(dense, new, torch.tensor([0, 0])) is None


def test_a_recipe_asks_for_embeddings(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("embeddings: 8\nstages:\n- method: rtn\n  bits: 4\n")
    found = read_recipe(path)
    assert found.embeddings == 8 and [stage.name for stage in found.stages] == ["rtn"]
    for text, said in (
        ("embeddings: 'eight'", "embeddings is 'eight'"),
        ("embeddings: true", "embeddings is True"),
        ("embeddings: 5", "8 or 4 bits, got 5"),
        ("embedding: 8", "unknown key 'embedding'"),
    ):
        path.write_text(f"{text}\nstages:\n- method: rtn\n")
        with pytest.raises(UserError, match=said):
            read_recipe(path)
    path.write_text("embeddings: 8\nstages:\n- method: wanda\n")
    with pytest.raises(UserError, match="wanda quantises nothing"):
        read_recipe(path)
