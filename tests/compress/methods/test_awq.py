"""AWQ on a tiny block: scaling changes nothing, never loses to rounding, and finds what was planted."""

import pytest
import torch

from llmc.compress.methods.awq import AWQ
from llmc.compress.methods.rtn import RTN
from llmc.compress.walk.block import BlockView
from llmc.errors import UserError
from tests.compress.layers import random, stats_of
from tests.compress.tiny_block import LINEARS, TinyBlock

SETTINGS = {"bits": 3, "group_size": 16}


def rounded(block: TinyBlock, method) -> TinyBlock:
    """The block with every linear layer compressed by the method."""
    for name in LINEARS:
        block.set_weight(name, method.compress(block.weight(name), block.stats(name)).weight)
    return block


def test_the_tiny_block_is_a_view():
    assert isinstance(TinyBlock(), BlockView)


@pytest.mark.parametrize("one_plus", [False, True])
@pytest.mark.parametrize("duo", [False, True])
def test_balancing_without_rounding_changes_no_output(one_plus, duo):
    """Norms of 1 + w, a producer with a bias and grouped-query attention included."""
    block = TinyBlock(one_plus=one_plus, massive=3)
    before = block.run()
    attention, mlp = block.parent_output("attention"), block.parent_output("mlp")
    found = AWQ(**SETTINGS, duo=duo, clip=False).balance(block)
    assert [pair.alpha is not None for pair in found].count(True) >= 3
    assert torch.allclose(block.run(), before, atol=1e-4)
    assert torch.allclose(block.parent_output("attention"), attention, atol=1e-4)
    assert torch.allclose(block.parent_output("mlp"), mlp, atol=1e-4)


def test_v_and_o_are_balanced_under_grouped_query_attention():
    """Both query heads of a key-value head get its scale."""
    block = TinyBlock()
    before = block.weight("o").clone()
    found = AWQ(**SETTINGS, clip=False).balance(block)
    assert found[1].pair == "v -> o"
    assert found[1].loss_ratio < 1
    scale = block.scales["v"].view(2, 1, 8).expand(2, 2, 8).flatten()
    assert torch.allclose(block.weight("o"), before * scale)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_no_pair_loses_more_than_plain_rounding(bits, symmetric):
    for found in AWQ(bits=bits, group_size=16, symmetric=symmetric).balance(TinyBlock()):
        assert found.loss_ratio <= 1
        assert (found.alpha is None) == (found.loss_ratio == 1)


def test_the_loss_ratio_is_that_of_the_parents_outputs():
    settings = {**SETTINGS, "clip": False}
    found = AWQ(**settings).balance(TinyBlock(massive=3))[0]

    def loss(scale):
        block = TinyBlock(massive=3)
        wanted = block.parent_output("attention")
        block.rescale(block.pairs[0], scale)
        for name in "qkv":
            block.set_weight(name, RTN(**SETTINGS).compress(block.weight(name), block.stats(name)).weight)
        return (block.parent_output("attention") - wanted).square().mean().item()

    block = TinyBlock(massive=3)
    AWQ(**settings).balance(block)
    assert loss(block.scales["norm1"]) / loss(torch.ones(32)) == pytest.approx(found.loss_ratio, rel=1e-3)


def test_a_planted_massive_channel_is_scaled_up():
    block = TinyBlock(massive=3)
    found = AWQ(**SETTINGS, clip=False, duo=False).balance(block)
    scale = block.scales["norm1"]
    assert scale.argmax() == 3
    assert scale[3] > 2 * scale.median()
    assert found[0].loss_ratio < 0.6


def test_the_whole_block_ends_nearer_than_by_rounding():
    wanted = TinyBlock(massive=3).run()
    block = TinyBlock(massive=3)
    method = AWQ(**SETTINGS)
    method.balance(block)
    ours = (rounded(block, method).run() - wanted).square().mean()
    plain = (rounded(TinyBlock(massive=3), RTN(**SETTINGS)).run() - wanted).square().mean()
    assert ours < 0.7 * plain


def test_a_dead_channel_keeps_its_scale_and_nothing_becomes_nan():
    block = TinyBlock()
    block.norm["norm1"][5] = 0.0
    block.inputs.clear()
    block.run()
    before = block.weight("q")[:, 5].clone()
    AWQ(**SETTINGS, clip=False).balance(block)
    assert torch.allclose(block.weight("q")[:, 5], before)
    assert all(weight.isfinite().all() for weight in block.linear.values())


def test_the_search_leaves_no_trace_when_rounding_has_no_loss():
    """Whole weights from 0 to 7 with a 7 in every group are on its 3-bit grid of step 1 and zero point 0."""
    block = TinyBlock()
    for name, shape in LINEARS.items():
        whole = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(1)).float()
        whole = whole.abs()
        whole[:, ::16] = 7.0
        block.linear[name] = whole
    block.inputs.clear()
    block.run()
    before = {name: weight.clone() for name, weight in block.linear.items()}
    found = AWQ(bits=3, group_size=16, symmetric=False).balance(block)
    assert [pair.loss_ratio for pair in found] == [None] * 4
    assert block.scales == {}
    assert all(torch.equal(block.weight(name), weight) for name, weight in before.items())


def test_clipping_leaves_queries_and_keys_whole():
    block = TinyBlock()
    method = AWQ(bits=2, group_size=16)
    unclipped = TinyBlock()
    AWQ(bits=2, group_size=16, clip=False).balance(unclipped)
    method.balance(block)
    same = {name: torch.equal(block.weight(name), unclipped.weight(name)) for name in LINEARS}
    assert same == {"q": True, "k": True, "v": False, "o": False, "gate": False, "up": False, "down": False}


def test_alone_it_is_rounding_to_nearest():
    weight, stats = random(8, 32), stats_of(torch.eye(32))
    assert torch.equal(AWQ(**SETTINGS).compress(weight, stats).weight, RTN(**SETTINGS).compress(weight, stats).weight)


@pytest.mark.parametrize("settings", [{"bits": 6}, {"n_grid": 0}, {"group_size": -2}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(UserError, match="must be"):
        AWQ(**settings)
