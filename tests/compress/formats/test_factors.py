import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

from llmc.compress.format import Stored, dense
from llmc.compress.formats.factors import FORMAT
from llmc.compress.method import Compressed, Factors
from llmc.errors import UserError
from llmc.models.factored import FactoredLinear, insert_factors
from llmc.models.load import load_model
from tests.compress.formats.checkpoints import block_linears, logits, make_llama, round_to_nearest, write_checkpoint


def halves(weight, rank):
    u, s, v = torch.linalg.svd(weight.float(), full_matrices=False)
    pair = Factors(left=(u[:, :rank] * s[:rank]).to(weight.dtype), right=v[:rank].to(weight.dtype))
    return Compressed(
        weight=(pair.left.float() @ pair.right.float()).to(weight.dtype), bits_per_weight=8.0, factors=pair
    )


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n_shards", [1, 3])
def test_a_factored_model_computes_what_its_product_computes(tmp_path, tied, n_shards):
    model = make_llama(tied=tied)
    layers = {name: halves(m.weight.data, 16) for name, m in block_linears(model).items() if "k_proj" not in name}
    reference = write_checkpoint(tmp_path, model, FORMAT, layers, n_shards=n_shards)
    loaded = load_model(tmp_path)
    assert (logits(loaded) - logits(reference)).abs().max() <= 1e-4
    assert (logits(model) - logits(reference)).abs().max() > 1e-2
    attention = loaded.model.layers[0].self_attn
    assert isinstance(attention.q_proj, FactoredLinear) and isinstance(attention.k_proj, torch.nn.Linear)
    assert attention.q_proj.left.shape == (128, 16) and attention.q_proj.right.shape == (16, 128)


def test_the_product_of_the_two_is_never_made(tmp_path):
    """Every tensor that an operation gives is watched: none has the shape of a dense matrix."""
    model = make_llama(hidden=96)  # unlike the vocabulary
    write_checkpoint(tmp_path, model, FORMAT, {n: halves(m.weight.data, 16) for n, m in block_linears(model).items()})
    loaded = load_model(tmp_path)
    made = set()

    class Watched(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            made.update(tuple(t.shape) for t in tree_leaves(found) if isinstance(t, torch.Tensor))
            return found

    with Watched():
        logits(loaded)
    shapes = {tuple(m.weight.shape) for m in block_linears(model).values()}
    assert (24, 16) in made and not made & (shapes | {shape[::-1] for shape in shapes})


@pytest.mark.parametrize("kernels", ["exact", "fast", "dense"])
def test_the_two_reach_any_device_and_stay_two(tmp_path, kernels):
    """On a device without memory: every tensor has to have come along. No word of `kernels` makes them one."""
    model = make_llama(torch.bfloat16)
    write_checkpoint(tmp_path, model, FORMAT, {n: halves(m.weight.data, 16) for n, m in block_linears(model).items()})
    loaded = load_model(tmp_path, kernels=kernels)
    layers = [module for module in loaded.modules() if isinstance(module, FactoredLinear)]
    held = sum(tensor.nbytes for layer in layers for tensor in (*layer.parameters(), *layer.buffers()))
    assert held == sum(2 * 16 * sum(m.weight.shape) for m in block_linears(model).values()) and len(layers) == 14
    loaded = loaded.to("meta")
    assert {t.device.type for t in (*loaded.parameters(), *loaded.buffers())} == {"meta"}
    assert loaded(torch.empty(2, 5, dtype=torch.int64, device="meta")).logits.shape == (2, 5, 128)


def test_half_precision_stays_half(tmp_path):
    model = make_llama(torch.bfloat16)
    reference = write_checkpoint(
        tmp_path, model, FORMAT, {n: halves(m.weight.data, 8) for n, m in block_linears(model).items()}
    )
    loaded = load_model(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert (logits(loaded) - logits(reference)).abs().max() <= 0.1 * logits(reference).abs().max()


def test_plain_transformers_refuses_rather_than_going_on_with_random_weights(tmp_path):
    model = make_llama()
    write_checkpoint(tmp_path, model, FORMAT, {n: halves(m.weight.data, 8) for n, m in block_linears(model).items()})
    with pytest.raises(ValueError, match="quant_method"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_a_layer_whose_rank_saves_nothing_stays_a_weight():
    whole = Compressed(weight=torch.randn(8, 8), bits_per_weight=32.0)
    pair = halves(torch.randn(8, 8), 2)
    stored = {"a": Stored.of(whole), "b": Stored.of(pair)}
    tensors = FORMAT.tensors("a", whole) | FORMAT.tensors("b", pair)
    assert sorted(tensors) == ["a.weight", "b.left", "b.right"]
    config = json.loads(json.dumps(FORMAT.config(stored), allow_nan=False))
    for name, layer in (("a", whole), ("b", pair)):
        assert torch.equal(dense(FORMAT.read(name, tensors, config), torch.float32), layer.weight)
    assert FORMAT.config({"a": stored["a"]}) is None
    assert "llmc.load" in FORMAT.warnings(stored)[0] and "No layer" in FORMAT.warnings({"a": stored["a"]})[0]


def test_a_bias_is_added_once():
    linear = torch.nn.Linear(4, 3)
    box = torch.nn.Sequential(linear)
    insert_factors(box, {"0": 2})
    with torch.no_grad():
        box[0].left.copy_(torch.randn(3, 2))
        box[0].right.copy_(torch.randn(2, 4))
    x = torch.randn(5, 4)
    assert torch.allclose(box(x), x @ (box[0].left @ box[0].right).T + linear.bias, atol=1e-6)


def test_what_it_cannot_hold_is_refused():
    quantised = Stored.of(round_to_nearest(torch.randn(32, 64), group_size=32))
    with pytest.raises(UserError, match="quantised"):
        FORMAT.refuse("a", quantised)
    with pytest.raises(UserError, match=r"no nn\.Linear"):
        FORMAT.refuse("a", Stored(shape=(8, 8), module="conv1d"))
    with pytest.raises(UserError, match="no such linear layer"):
        insert_factors(torch.nn.Sequential(torch.nn.Linear(4, 4)), {"7": 2})
