"""Checkpoints with packed embeddings and heads, built by hand: logits, ties, bytes in memory, and damage."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmc.compress.formats.compressed_tensors import FORMAT
from llmc.errors import UserError
from llmc.kernels.packed_table import PackedEmbedding, PackedHead
from llmc.models.load import load_model
from llmc.models.memory import n_parameters, tensor_bytes
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint

KINDS = {"model.embed_tokens": "embedding", "lm_head": "head"}
needs_vectors = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="this CPU has no packed products"
)


def written(folder, *, tied, bits=8, group_size=32, symmetric=True, layers=True, dtype=torch.bfloat16):
    """The model as it was, and the dense model with the decoded values put in."""
    model = make_llama(dtype, tied=tied)
    found = {}
    if layers:
        found = {n: round_to_nearest(m.weight.data, bits=4, group_size=64) for n, m in block_linears(model).items()}
    for name in ["model.embed_tokens"] if tied else list(KINDS):
        grid = {"bits": bits, "group_size": group_size, "symmetric": symmetric}
        found[name] = round_to_nearest(model.get_submodule(name).weight.data, **grid)
    return model, write_checkpoint(folder, model, FORMAT, found, ignored=["lm_head"] if tied else [], kinds=KINDS)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bits, symmetric", [(8, True), (4, True), (4, False)])
def test_logits_are_those_of_the_dense_model_with_the_decoded_values(tmp_path, tied, bits, symmetric):
    model, reference = written(tmp_path, tied=tied, bits=bits, symmetric=symmetric)
    loaded = load_model(tmp_path)
    assert isinstance(loaded.get_input_embeddings(), PackedEmbedding)
    assert isinstance(loaded.get_output_embeddings(), PackedHead)
    assert (loaded.lm_head is loaded.model.embed_tokens.table) == tied
    assert loaded.dtype == torch.bfloat16 and torch.equal(logits(loaded), logits(reference))
    assert (logits(model) - logits(reference)).abs().max() > 1e-3
    assert n_parameters(loaded) == n_parameters(model)
    dense = load_model(tmp_path, kernels="dense")
    assert torch.equal(logits(dense), logits(reference)) and n_parameters(dense) == n_parameters(model)
    assert (dense.lm_head.weight is dense.model.embed_tokens.weight) == tied


@needs_vectors
@pytest.mark.parametrize("tied", [True, False])
def test_fast_heads_multiply_with_the_values_that_are_looked_up(tmp_path, tied):
    model, reference = written(tmp_path, tied=tied)
    loaded = load_model(tmp_path, kernels="fast")
    assert isinstance(loaded.model.embed_tokens, PackedEmbedding) and not isinstance(loaded.lm_head, PackedHead)
    ids = torch.arange(128)[None]
    assert torch.equal(loaded.model.embed_tokens(ids), reference.model.embed_tokens(ids))
    x = torch.eye(128).bfloat16()
    assert torch.equal(loaded.lm_head(x).T, reference.lm_head.weight)
    assert (logits(loaded) - logits(reference)).norm() <= 0.03 * logits(reference).norm()
    assert n_parameters(loaded) == n_parameters(model)


@pytest.mark.parametrize("tied", [True, False])
def test_a_packed_table_takes_the_bytes_of_its_codes_once(tmp_path, tied):
    """128 tokens of width 128: 8 bits a weight and 16 bits a scale of 32, instead of 16 bits a weight."""
    model, _ = written(tmp_path, tied=tied, layers=False)
    n_tables = 1 if tied else 2
    loaded = load_model(tmp_path)
    assert tensor_bytes(loaded) == tensor_bytes(model) - n_tables * 128 * 128 * 2 + n_tables * (128 * 128 + 128 * 4 * 2)
    held = tensor_bytes(loaded)
    logits(loaded)
    assert tensor_bytes(loaded) == held


def test_it_writes_the_same_tokens_as_the_dense_model(tmp_path):
    _, reference = written(tmp_path, tied=True)
    ids = torch.tensor([[3, 17, 29]])
    how = {"max_new_tokens": 12, "do_sample": False, "attention_mask": torch.ones_like(ids), "pad_token_id": 0}
    assert load_model(tmp_path).generate(ids, **how).tolist() == reference.generate(ids, **how).tolist()


def test_a_table_under_the_name_of_the_tied_head_is_found(tmp_path):
    _, reference = written(tmp_path, tied=True)
    tensors = load_file(tmp_path / "model.safetensors")
    renamed = {name.replace("model.embed_tokens.", "lm_head."): tensor for name, tensor in tensors.items()}
    save_file(renamed, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = (tmp_path / "config.json").read_text().replace("re:model\\\\.embed_tokens$", "re:lm_head$")
    (tmp_path / "config.json").write_text(config)
    assert json.loads(config)["quantization_config"]["config_groups"]["group_1"]["targets"] == ["re:lm_head$"]
    loaded = load_model(tmp_path)
    assert torch.equal(logits(loaded), logits(reference)) and loaded.lm_head is loaded.model.embed_tokens.table


def test_codes_of_another_shape_are_one_sentence(tmp_path):
    written(tmp_path, tied=True)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["model.embed_tokens.weight_shape"] = torch.tensor([127, 128])
    for part in ("weight_packed", "weight_scale"):
        tensors[f"model.embed_tokens.{part}"] = tensors[f"model.embed_tokens.{part}"][:127].contiguous()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=r"embed_tokens has codes for \(127, 128\) weights where the model has \(128, 128\)"
    ):
        load_model(tmp_path)
