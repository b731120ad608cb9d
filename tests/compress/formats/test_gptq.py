import json

import pytest
import torch

from llmc.compress.format import Stored, dense
from llmc.compress.formats import gptq, gptq_v2
from llmc.compress.method import Compressed, Quantised
from llmc.errors import UserError
from tests.compress.formats.checkpoints import round_to_nearest

V1, V2 = gptq.FORMAT, gptq_v2.FORMAT


def bits_at(words, start, bits):
    """`bits` bits of a list of int32 words, read as one stream, from bit `start`."""
    stream = sum((int(word) & 0xFFFFFFFF) << (32 * k) for k, word in enumerate(words))
    return (stream >> start) & (2**bits - 1)


def decode(tensors, bits, plus):
    """The weight (out, in) by the format's definition, value by value."""
    qweight, qzeros = tensors["a.qweight"], tensors["a.qzeros"]
    scales, g_idx = tensors["a.scales"].double(), tensors["a.g_idx"].tolist()
    weight = torch.zeros(scales.shape[1], len(g_idx), dtype=torch.float64)
    for o in range(weight.shape[0]):
        for i, g in enumerate(g_idx):
            code = bits_at(qweight[:, o], i * bits, bits)
            zero = bits_at(qzeros[g], o * bits, bits) + plus
            weight[o, i] = scales[g, o] * (code - zero)
    return weight


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group_size", [-1, 32])
@pytest.mark.parametrize("fmt, plus, symmetric", [(V1, 1, True), (V2, 0, True), (V2, 0, False)])
def test_the_tensors_decode_to_the_weight_by_definition(bits, group_size, fmt, plus, symmetric):
    layer = round_to_nearest(torch.randn(32, 64), bits=bits, group_size=group_size, symmetric=symmetric)
    tensors = fmt.tensors("a", layer)
    assert tensors["a.qweight"].shape == (64 * bits // 32, 32) and tensors["a.qweight"].dtype == torch.int32
    groups = 1 if group_size == -1 else 2
    assert tensors["a.qzeros"].shape == (groups, 32 * bits // 32) and tensors["a.scales"].shape == (groups, 32)
    assert tensors["a.g_idx"].dtype == torch.int32
    assert torch.equal(decode(tensors, bits, plus).float(), layer.weight)


def test_zero_points_of_a_symmetric_grid_by_hand():
    layer = round_to_nearest(torch.randn(8, 32), bits=4, group_size=32)
    assert (V1.tensors("a", layer)["a.qzeros"] == 0x77777777).all()
    assert ((V2.tensors("a", layer)["a.qzeros"].long() & 0xFFFFFFFF) == 0x88888888).all()


def test_version_1_would_carry_a_zero_point_of_0_into_its_neighbour():
    """Readers add 0x11111111 to the whole word. Zeros (0, 8): 0 is stored as 15, and 15 + 1 carries: 9, not 8."""
    stored = ((0 - 1) & 15) | ((8 - 1) << 4)
    read = stored + 0x11
    assert (read & 15, read >> 4 & 15) == (0, 9)
    codes, scale = torch.zeros(8, 32, dtype=torch.uint8), torch.ones(8, 1)
    zero = torch.tensor([[0]] + [[8]] * 7, dtype=torch.uint8)
    grid = Quantised(codes=codes, scale=scale, zero=zero, bits=4, group_size=-1, symmetric=False)
    layer = Compressed(weight=dense(grid, torch.float32), bits_per_weight=4.0, quantised=grid)
    with pytest.raises(UserError, match="zero point of 0"):
        V1.refuse("a", Stored.of(layer))
    with pytest.raises(ValueError, match="carry"):
        V1.tensors("a", layer)
    assert torch.equal(decode(V2.tensors("a", layer), 4, 0).float(), layer.weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("fmt, symmetric", [(V1, True), (V2, False)])
@pytest.mark.parametrize("group_size", [-1, 32])
def test_reading_gives_the_codes_back(bits, fmt, symmetric, group_size):
    layer = round_to_nearest(torch.randn(32, 96), bits=bits, group_size=group_size, symmetric=symmetric)
    config = json.loads(json.dumps(fmt.config({"a": Stored.of(layer)}), allow_nan=False))
    grid = fmt.read("a", fmt.tensors("a", layer), config)
    for field in ("codes", "scale", "zero"):
        assert torch.equal(getattr(grid, field), getattr(layer.quantised, field))
    assert (grid.bits, grid.group_size, grid.symmetric) == (bits, group_size, symmetric)


def test_an_act_order_file_of_others_is_not_misread():
    layer = round_to_nearest(torch.randn(32, 64), group_size=32)
    tensors = V2.tensors("a", layer)
    tensors["a.g_idx"] = tensors["a.g_idx"].flip(0)
    with pytest.raises(UserError, match="act-order"):
        V2.read("a", tensors, V2.config({"a": Stored.of(layer)}))


def test_scales_keep_the_weights_dtype():
    layer = round_to_nearest(torch.randn(32, 64).bfloat16(), group_size=32)
    assert V1.tensors("a", layer)["a.scales"].dtype == torch.bfloat16


def layer_of(**changes):
    return Stored(**{"shape": (64, 64), "bits": 4, "group_size": 32, "symmetric": True, **changes})


@pytest.mark.parametrize(
    "stored, words",
    [
        (layer_of(bits=None), "not quantised"),
        (layer_of(bits=5), "has 5"),
        (layer_of(module="expert"), "random experts"),
        (layer_of(module="conv1d"), "no nn.Linear"),
        (layer_of(group_size=16), "not 16"),
        (layer_of(group_size=512), "not 512"),
        (layer_of(shape=(60, 64)), "60"),
        (layer_of(shape=(64, 48), bits=3, group_size=-1), "48"),
    ],
)
@pytest.mark.parametrize("fmt", [V1, V2])
def test_what_no_reader_takes_is_refused_in_a_sentence(fmt, stored, words):
    with pytest.raises(UserError, match=words):
        fmt.refuse("model.layers.0.x", stored)


def test_what_it_holds_is_not_refused():
    V1.refuse("a", layer_of())
    V2.refuse("a", layer_of(symmetric=False, bits=3))


def test_the_config_has_what_the_readers_ask_for():
    config = V1.config({"model.layers.0.a": layer_of()}, ignored=["lm_head"])
    assert (config["quant_method"], config["checkpoint_format"], config["desc_act"]) == ("gptq", "gptq", False)
    assert (config["bits"], config["group_size"], config["sym"]) == (4, 32, True)
    assert V2.config({"a": layer_of()})["checkpoint_format"] == "gptq_v2"
    assert "dynamic" not in config and "modules_in_block_to_quantize" not in config


def test_a_layer_of_a_block_that_stays_dense_is_named_to_every_reader():
    config = V1.config({"model.layers.0.a": layer_of()}, ignored=["lm_head", "model.layers.0.b"])
    assert config["modules_in_block_to_quantize"] == [["model.layers.0.a"]]
    assert list(config["dynamic"]) == [r"-:^model\.layers\.0\.b$"]


def test_one_grid_for_all_layers():
    with pytest.raises(UserError, match="2"):
        V1.config({"a": layer_of(), "b": layer_of(bits=8)})


def test_warnings_name_who_cannot_read_it():
    def warned(**changes):
        return " ".join(V2.warnings({"a": layer_of(dtype="bfloat16", **changes)}))

    assert warned() == ""
    assert "not 3" in warned(bits=3)
    assert "asymmetric" in warned(symmetric=False)
    assert "GPTQConfig(bits=4, backend='torch')" in warned(group_size=-1) and warned(group_size=-1, bits=8) == ""
    assert "float16" in V2.warnings({"a": layer_of(dtype="float32")})[0]
