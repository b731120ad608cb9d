"""Models that llmc loads, or fills block by block, multiply float32 with oneDNN where that is the faster way."""

import pytest
import torch
from torch import nn

from llmc.kernels.onednn_linear import OneDnnLinear
from llmc.models.load import load_model
from llmc.models.skeleton import Skeleton
from llmc.models.tiny import tiny_model

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this build of torch has no oneDNN for these layers"
)


def kinds(model: nn.Module) -> set[type]:
    return {type(module) for module in model.modules() if isinstance(module, nn.Linear)}


@pytest.fixture
def directory(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("faster", "kind"), [(True, OneDnnLinear), (False, nn.Linear)])
def test_all_float32_layers_do_where_it_is_faster(monkeypatch, directory, faster, kind):
    monkeypatch.setattr("llmc.ops.product._mkl_holds_back", lambda: faster)
    assert kinds(load_model(directory, dtype=torch.float32)) == {kind}
    assert kinds(Skeleton(directory, torch.float32).model) == {kind}


def test_halves_stay_as_they_are(monkeypatch, directory):
    monkeypatch.setattr("llmc.ops.product._mkl_holds_back", lambda: True)
    assert kinds(load_model(directory, dtype=torch.bfloat16)) == {nn.Linear}
    assert kinds(Skeleton(directory, torch.bfloat16).model) == {nn.Linear}


def test_logits_are_the_same_but_for_rounding(monkeypatch, directory):
    torch.manual_seed(0)
    tokens = torch.randint(3, 128, (64, 100))  # enough rows that every product is large enough
    found = {}
    for faster in (True, False):
        monkeypatch.setattr("llmc.ops.product._mkl_holds_back", lambda faster=faster: faster)
        with torch.no_grad():
            found[faster] = load_model(directory, dtype=torch.float32)(tokens).logits
    torch.testing.assert_close(found[True], found[False], rtol=1e-5, atol=1e-5)
