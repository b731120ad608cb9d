"""Linear layers that change their products and nothing else."""

import copy

import pytest
import torch
from torch import nn

from llmc.kernels import onednn_linear
from llmc.kernels.onednn_linear import OneDnnLinear, is_plain_linear, use_onednn_

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),
    reason="this build of torch has no oneDNN for these layers",
)


class Marked(nn.Linear):
    """Somebody's own layer."""


@pytest.fixture
def held_back(monkeypatch):
    monkeypatch.setattr("llmc.ops.product._mkl_holds_back", lambda: True)


def model() -> nn.Module:
    torch.manual_seed(0)
    halves = nn.Linear(256, 256).bfloat16()
    return nn.ModuleList([nn.Linear(256, 512), nn.Linear(512, 256, bias=False), halves, Marked(256, 256)])


def test_plain_float32_layers_change_and_no_others(held_back):
    changed = model()
    use_onednn_(changed)
    assert [type(layer) for layer in changed] == [OneDnnLinear, OneDnnLinear, nn.Linear, Marked]
    assert [is_plain_linear(layer) for layer in changed] == [True, True, True, False]
    assert isinstance(changed[0], nn.Linear)


def test_state_copies_and_outputs_are_a_linear_layers(held_back):
    plain, changed = model(), model()
    use_onednn_(changed)
    assert changed.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(changed.state_dict())
    x = torch.randn(3, 50, 256)
    with torch.no_grad():
        expected = plain[1](plain[0](x))
        for layers in (changed, copy.deepcopy(changed)):
            torch.testing.assert_close(layers[1](layers[0](x)), expected, rtol=1e-5, atol=1e-5)


def test_nothing_changes_where_torchs_products_are_as_fast(monkeypatch):
    monkeypatch.setattr(onednn_linear, "by_onednn", lambda: False)
    same = model()
    use_onednn_(same)
    assert [type(layer) for layer in same] == [nn.Linear, nn.Linear, nn.Linear, Marked]


def test_a_layer_without_a_weight_is_passed_over(held_back):
    packed = nn.Linear(8, 8)
    del packed.weight
    use_onednn_(packed)
    assert type(packed) is nn.Linear
