import json

import pytest
import torch

from llmc.compress.format import Stored
from llmc.compress.formats.awq import FORMAT
from llmc.errors import UserError
from tests.compress.formats.checkpoints import round_to_nearest


def column(word, k):
    """Column k of the eight in a word: AWQ stores columns 0 2 4 6 1 3 5 7, lowest four bits first."""
    return (int(word) & 0xFFFFFFFF) >> 4 * [0, 2, 4, 6, 1, 3, 5, 7].index(k) & 15


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [-1, 32])
def test_the_tensors_decode_to_the_weight_by_definition(symmetric, group_size):
    layer = round_to_nearest(torch.randn(16, 64), bits=4, group_size=group_size, symmetric=symmetric)
    tensors = FORMAT.tensors("a", layer)
    qweight, qzeros, scales = (tensors[f"a.{name}"] for name in ("qweight", "qzeros", "scales"))
    size = 64 if group_size == -1 else group_size
    assert qweight.shape == (64, 2) and qzeros.shape == (64 // size, 2) and scales.shape == (64 // size, 16)
    weight = torch.zeros(16, 64, dtype=torch.float64)
    for o in range(16):
        for i in range(64):
            code = column(qweight[i, o // 8], o % 8)
            zero = column(qzeros[i // size, o // 8], o % 8)
            weight[o, i] = float(scales[i // size, o]) * (code - zero)
    assert torch.equal(weight.float(), layer.weight)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group_size", [-1, 32])
def test_reading_gives_the_codes_back(symmetric, group_size):
    layer = round_to_nearest(torch.randn(24, 64), bits=4, group_size=group_size, symmetric=symmetric)
    config = json.loads(json.dumps(FORMAT.config({"a": Stored.of(layer)}, ignored=["lm_head"]), allow_nan=False))
    assert (config["quant_method"], config["version"], config["zero_point"]) == ("awq", "gemm", True)
    assert config["modules_to_not_convert"] == ["lm_head"]
    grid = FORMAT.read("a", FORMAT.tensors("a", layer), config)
    for field in ("codes", "scale", "zero"):
        assert torch.equal(getattr(grid, field), getattr(layer.quantised, field))
    assert (grid.bits, grid.group_size, grid.symmetric) == (4, group_size, symmetric)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"bits": 8}, "has 8"),
        ({"bits": None}, "not quantised"),
        ({"module": "expert"}, "random experts"),
        ({"module": "conv1d"}, "no nn.Linear"),
        ({"group_size": 256}, "not 256"),
        ({"shape": (20, 64)}, "20"),
    ],
)
def test_what_no_reader_takes_is_refused_in_a_sentence(changes, words):
    stored = {"shape": (16, 64), "bits": 4, "group_size": 32, "symmetric": False}
    FORMAT.refuse("model.layers.0.x", Stored(**stored))
    with pytest.raises(UserError, match=words):
        FORMAT.refuse("model.layers.0.x", Stored(**{**stored, **changes}))


def test_layers_without_groups_are_told_how_to_load_them():
    stored = Stored(shape=(16, 64), bits=4, group_size=-1, symmetric=False)
    assert "AwqConfig(bits=4, backend='torch_awq')" in FORMAT.warnings({"a": stored})[0]


def test_a_float32_model_is_told_that_its_scales_are_rounded():
    grid = {"shape": (16, 64), "bits": 4, "group_size": 32, "symmetric": False}
    assert FORMAT.warnings({"a": Stored(**grid, dtype="bfloat16")}) == ()
    assert "float16" in FORMAT.warnings({"a": Stored(**grid, dtype="float32")})[0]
