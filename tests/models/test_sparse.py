"""Loading pruned checkpoints: the same answers in fewer bytes, found by the zeros that are really there."""

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

import llmc
from llmc.compress.formats.compressed_tensors import FORMAT as COMPRESSED_TENSORS
from llmc.errors import UserError
from llmc.kernels.cpu_sparse import CsrLinear
from llmc.kernels.packed_linear import PackedLinear
from llmc.kernels.sparse_linear import SparseLinear
from llmc.models import sparse
from llmc.models.checkpoint import Checkpoint
from llmc.models.layout import find_blocks, matrices
from llmc.models.load import load_model
from llmc.models.memory import n_parameters, packed_layers, tensor_bytes
from llmc.models.sparse_files import sampled_density
from llmc.models.tiny import FAMILIES, tiny_model
from llmc.ops.masks import keep_n_of_m, parse_pattern
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint

needs_mkl = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="torch's CSR products need MKL")


def prune(model, how, seed=0):
    """Zeros in every matrix of the blocks: a density, or a pattern of the kept ones; and one row that is all zero."""
    draws = torch.Generator().manual_seed(seed)
    for block in find_blocks(model)[1]:
        for matrix in matrices(block):
            weight = matrix.weight.clone()
            score = torch.rand(weight.shape, generator=draws)
            keep = score < how if isinstance(how, float) else keep_n_of_m(score, parse_pattern(how))
            weight.masked_fill_(~keep, 0)[5] = 0
            matrix.set_weight(weight)
    return model


def same_bits(model, other):
    found, wanted = logits(model), logits(other)
    return torch.equal(found.view(torch.int32), wanted.view(torch.int32))


@pytest.mark.parametrize("how", ["2:4", "4:8", 0.5, 0.3])
@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("computed", [None, torch.bfloat16, torch.float32])
def test_pruned_layers_answer_like_dense_ones_bit_for_bit_in_fewer_bytes(tmp_path, how, stored, computed):
    model = prune(make_llama(stored), how)
    model.save_pretrained(tmp_path)
    loaded, dense = (load_model(tmp_path, dtype=computed, kernels=kernels) for kernels in ("exact", "dense"))
    assert same_bits(loaded, dense) and not packed_layers(dense)
    assert [type(layer) for layer in packed_layers(loaded)] == [SparseLinear] * 14
    weights = [module.weight for module in block_linears(model).values()]
    n_weights, n_kept = (sum(int(count(w)) for w in weights) for count in (torch.numel, torch.count_nonzero))
    held = min(stored.itemsize, dense.dtype.itemsize)
    sparse_bytes = n_kept * held + n_weights // 8
    assert tensor_bytes(loaded) == tensor_bytes(dense) - n_weights * dense.dtype.itemsize + sparse_bytes
    assert n_parameters(loaded) == n_parameters(dense) == sum(p.numel() for p in model.parameters())
    assert tensor_bytes(loaded) < tensor_bytes(dense)  # and a call, above, left nothing behind


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_loads_with_zeros(tmp_path, family):
    prune(tiny_model(family), 0.5).save_pretrained(tmp_path)
    loaded, dense = load_model(tmp_path), load_model(tmp_path, kernels="dense")
    assert same_bits(loaded, dense) and n_parameters(loaded) == n_parameters(dense)
    if family in ("gpt2", "falcon"):  # Conv1D, and a linear layer of Falcon's own
        assert not packed_layers(loaded) and tensor_bytes(loaded) == tensor_bytes(dense)
    else:
        assert len(packed_layers(loaded)) >= 8 and tensor_bytes(loaded) < tensor_bytes(dense)


def test_layers_are_judged_one_by_one_by_their_own_zeros(tmp_path, caplog):
    model = make_llama(torch.bfloat16, hidden=120)
    for name, module in block_linears(model).items():
        density = {"q_proj": 0.74, "k_proj": 0.64, "down_proj": 0.5}.get(name.rpartition(".")[2])
        if density is not None:
            module.weight.data[torch.rand(module.weight.shape, generator=torch.manual_seed(0)) >= density] = 0
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="llmc"):
        loaded = load_model(tmp_path)
    found = {name.rpartition(".")[2] for name, m in loaded.named_modules() if isinstance(m, SparseLinear)}
    assert found == {"k_proj", "down_proj"} and same_bits(loaded, load_model(tmp_path, kernels="dense"))
    first, second = (record.message for record in caplog.records)
    assert first.startswith("4 pruned matrices are held without zeros, 0.1 MB less") and "kernels=dense" in first
    assert second.startswith("2 pruned matrices are held dense, zeros and all: without")


def test_what_was_saved_is_what_the_tensors_say(tmp_path, caplog):
    model = prune(tiny_model("qwen2", hidden_size=512, intermediate_size=1024), 0.5)  # its projections have biases
    model.save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="llmc"):
        loaded = load_model(tmp_path)
    saved = tensor_bytes(load_model(tmp_path, kernels="dense")) - tensor_bytes(loaded)
    assert f" {saved / 1e6:.1f} MB less than dense" in caplog.records[0].message and saved > 1e6
    assert caplog.records[0].args[1] == saved / 1e6  # to the byte: a bias is no part of it


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_one_tensor_and_an_untied_head_is_a_layer(tmp_path, tied):
    model = prune(make_llama(tied=tied), 0.5)
    model.lm_head.weight.data[torch.rand(model.lm_head.weight.shape) < 0.5] = 0
    model.save_pretrained(tmp_path)
    if tied:  # as some files have it: both names
        state = load_file(tmp_path / "model.safetensors")
        state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_model(tmp_path)
    assert same_bits(loaded, load_model(tmp_path, kernels="dense")) and len(packed_layers(loaded)) == 15 - tied
    if tied:
        assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_a_checkpoint_without_zeros_is_loaded_by_transformers_alone(tmp_path, monkeypatch):
    make_llama().save_pretrained(tmp_path)
    assert set(sampled_density(Checkpoint(tmp_path)).values()) == {1.0}
    read = []
    monkeypatch.setattr(Checkpoint, "read", lambda self, names: read.append(names))
    loaded = load_model(tmp_path)
    assert not read and not packed_layers(loaded) and getattr(loaded, "hf_quantizer", None) is None


def test_loading_holds_one_dense_matrix_at_a_time(tmp_path, monkeypatch):
    """No matrix that was read is left when the next one is."""
    import gc
    import weakref

    prune(make_llama(), 0.5).save_pretrained(tmp_path)
    real, alive = Checkpoint.read, []

    def read(self, names):
        gc.collect()
        assert not [ref for ref in alive if ref() is not None]
        found = real(self, names)
        alive.extend(weakref.ref(tensor) for tensor in found.values())
        return found

    monkeypatch.setattr(Checkpoint, "read", read)
    load_model(tmp_path)
    assert len(alive) == 14


@pytest.mark.parametrize("settings", [("magnitude", {"sparsity": 0.5}), ("wanda", {"pattern": "2:4"})])
def test_what_compress_prunes_is_held_without_zeros(tmp_path, settings):
    from llmc.compress.recipe import build
    from tests.compress.test_families import run

    make_llama().save_pretrained(tmp_path / "dense")
    run(tmp_path / "dense", tmp_path / "out", build(*settings))
    loaded, dense = (load_model(tmp_path / "out", kernels=kernels) for kernels in ("exact", "dense"))
    assert len(packed_layers(loaded)) == 14 and same_bits(loaded, dense)
    shares = [layer.values.numel() / layer.n_weights for layer in packed_layers(loaded)]
    assert shares == [0.5] * 14


def test_experts_that_the_model_joins_stay_dense(tmp_path, caplog):
    from llmc.compress.recipe import build
    from tests.compress.test_families import run

    tiny_model("mixtral").save_pretrained(tmp_path / "dense")
    run(tmp_path / "dense", tmp_path / "out", build("magnitude", {"sparsity": 0.5}))
    with caplog.at_level(logging.INFO, logger="llmc.models"):
        loaded = load_model(tmp_path / "out")
    assert len(packed_layers(loaded)) == 8 and same_bits(loaded, load_model(tmp_path / "out", kernels="dense"))
    assert caplog.records[1].message.startswith("24 pruned matrices are held dense, zeros and all: they are embeddings")


@needs_mkl
def test_fast_multiplies_what_is_sparse_enough_and_says_what_is_not(tmp_path, caplog):
    prune(make_llama(torch.bfloat16), 0.08).save_pretrained(tmp_path / "90")
    prune(make_llama(torch.bfloat16), "2:4").save_pretrained(tmp_path / "half")
    loaded, dense = (load_model(tmp_path / "90", kernels=kernels) for kernels in ("fast", "dense"))
    assert [type(layer) for layer in packed_layers(loaded)] == [CsrLinear] * 14 and not caplog.records
    assert (logits(loaded) - logits(dense)).norm() <= 0.03 * logits(dense).norm()
    assert tensor_bytes(loaded) < tensor_bytes(dense) and n_parameters(loaded) == n_parameters(dense)
    loaded = load_model(tmp_path / "half", kernels="fast")
    assert not packed_layers(loaded) and same_bits(loaded, load_model(tmp_path / "half", kernels="dense"))
    assert [r.message for r in caplog.records] == [
        "14 pruned matrices are held dense, zeros and all: fewer than 90 % zeros, where no sparse product on a CPU "
        "beats the dense bfloat16 one"
    ]


def test_codes_with_zeros_go_the_way_of_codes(tmp_path):
    model = prune(make_llama(torch.bfloat16), 0.5)
    layers = {name: round_to_nearest(module.weight.data) for name, module in block_linears(model).items()}
    reference = write_checkpoint(tmp_path, model, COMPRESSED_TENSORS, layers)
    loaded = load_model(tmp_path)
    assert [type(layer) for layer in packed_layers(loaded)] == [PackedLinear] * 14
    assert torch.equal(logits(loaded), logits(reference))


def test_shards_are_read_where_they_are(tmp_path):
    model = prune(make_llama(), 0.5)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(Checkpoint(tmp_path).shards) > 2
    loaded = load_model(tmp_path)
    assert len(packed_layers(loaded)) == 14 and same_bits(loaded, load_model(tmp_path, kernels="dense"))


def test_a_matrix_of_the_wrong_shape_is_one_sentence(tmp_path):
    prune(make_llama(), 0.5).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["model.layers.0.mlp.up_proj.weight"] = state["model.layers.0.mlp.up_proj.weight"][:-1].clone()
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="up_proj has \\(255, 128\\)"):
        load_model(tmp_path)


def test_a_missing_matrix_is_still_missed(tmp_path):
    prune(make_llama(), 0.5).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["model.layers.0.mlp.up_proj.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="without values"):
        load_model(tmp_path)


def test_a_sparse_model_is_not_saved_and_a_dense_one_is(tmp_path):
    prune(make_llama(), 0.5).save_pretrained(tmp_path / "a")
    with pytest.raises(ValueError, match="llmc-sparse"):
        llmc.load(tmp_path / "a").save_pretrained(tmp_path / "b")
    llmc.load(tmp_path / "a", kernels="dense").save_pretrained(tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text()).get("quantization_config") is None


def test_a_sample_sees_pruning_and_leaves_vectors_and_whole_numbers_alone(tmp_path):
    tensors = {
        "a.weight": torch.ones(40, 30).masked_fill(torch.rand(40, 30) < 0.5, 0),
        "b.weight": torch.ones(40, 30),
        "norm.weight": torch.zeros(40),
        "c.weight": torch.zeros(4, 4, dtype=torch.int32),
        "d.bias": torch.zeros(4, 4),
        "e.weight": torch.zeros(1, 8, dtype=torch.bfloat16),
        "f.weight": torch.zeros(0, 8),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    found = sampled_density(Checkpoint(tmp_path))
    assert found.pop("a") == pytest.approx(0.5, abs=0.2) and found == {"b": 1.0, "e": 0.0}
    assert sparse.WORTH_A_LOOK > 0.75  # so that a sample which misses by a tenth still leads to a count
