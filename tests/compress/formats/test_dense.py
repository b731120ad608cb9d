import pytest
import torch
from transformers import AutoModelForCausalLM

from llmc.compress.format import Stored
from llmc.compress.formats.dense import FORMAT
from llmc.compress.method import Compressed
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint


def two_of_four(weight):
    """The two largest of every four inputs, by definition."""
    fours = weight.reshape(-1, 4)
    keep = torch.zeros_like(fours, dtype=torch.bool)
    keep.scatter_(1, fours.abs().topk(2, dim=1).indices, True)
    keep = keep.reshape(weight.shape)
    return Compressed(weight=weight * keep, bits_per_weight=0.5 * 16 + 0.65, keep=keep)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("n_shards", [1, 2])
def test_a_pruned_model_loads_with_its_zeros(tmp_path, dtype, n_shards):
    model = make_llama(dtype)
    layers = {name: two_of_four(module.weight.data) for name, module in block_linears(model).items()}
    reference = write_checkpoint(tmp_path, model, FORMAT, layers, n_shards=n_shards)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    assert getattr(loaded.config, "quantization_config", None) is None
    assert torch.equal(logits(loaded), logits(reference))
    for name in layers:
        weight = loaded.get_submodule(name).weight
        assert ((weight.reshape(-1, 4) != 0).sum(1) <= 2).all()


def test_it_holds_anything_and_says_when_levels_save_no_bytes():
    layer = round_to_nearest(torch.randn(8, 32), bits=3, group_size=32)
    FORMAT.refuse("a", Stored.of(layer, "conv1d"))
    assert torch.equal(FORMAT.read("a", FORMAT.tensors("a", layer), None), layer.weight)
    assert "3-bit" in FORMAT.warnings({"a": Stored.of(layer)})[0]
    assert FORMAT.warnings({"a": Stored.of(two_of_four(layer.weight))}) == ()
