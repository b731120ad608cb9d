"""What every catalogued method owes its caller, without being asked."""

from dataclasses import fields, is_dataclass

import pytest
import torch

from llmc.catalog import catalog
from llmc.compress.method import LayerStats, Method
from tests.compress.layers import correlated, random, stats_of

METHODS = catalog("llmc.compress.methods", "METHOD")
WIDTH = 128


def small(name: str):
    """The method as it comes, with groups that fit the test's width."""
    return METHODS[name]()


def stats_needed(name: str) -> LayerStats:
    """No more than the method says that it needs: what it doesn't ask for is absent."""
    whole = stats_of(correlated(256, WIDTH))
    level = METHODS[name].needs
    return LayerStats(
        n_tokens=whole.n_tokens,
        sq_norm=whole.sq_norm if level >= 1 else None,
        abs_sum=whole.abs_sum if level >= 1 else None,
        gram=whole.gram if level >= 2 else None,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", list(METHODS))
def test_shape_dtype_and_input_stay_and_the_result_is_finite_and_repeatable(name, dtype):
    weight = random(48, WIDTH).mul_(0.1).to(dtype)
    stats, before = stats_needed(name), weight.clone()
    kept = {key: value.clone() for key, value in vars(stats).items() if isinstance(value, torch.Tensor)}
    result = small(name).compress(weight, stats)
    assert result.weight.shape == weight.shape
    assert result.weight.dtype == dtype
    assert bool(result.weight.isfinite().all())
    assert torch.equal(weight, before)
    assert all(torch.equal(getattr(stats, key), value) for key, value in kept.items())
    assert not torch.equal(result.weight, weight)
    assert torch.equal(small(name).compress(weight, stats_needed(name)).weight, result.weight)
    assert torch.equal(small(name).compress(weight, stats).weight, result.weight), "a used cache changes the result"


@pytest.mark.parametrize("name", list(METHODS))
def test_the_cost_is_stated_and_less_than_the_dense_weight(name):
    result = small(name).compress(random(48, WIDTH).half(), stats_needed(name))
    assert 0 < result.bits_per_weight < 16


@pytest.mark.parametrize("name", list(METHODS))
def test_what_stands_for_the_weight_is_exactly_the_weight(name):
    result = small(name).compress(random(48, WIDTH).bfloat16(), stats_needed(name))
    if result.quantised is not None:
        stored = result.quantised
        size = WIDTH if stored.group_size == -1 else stored.group_size
        scale, zero = (t.float().repeat_interleave(size, dim=1) for t in (stored.scale, stored.zero))
        read = ((stored.codes - zero) * scale).bfloat16()
        assert torch.equal(read.view(torch.int16), result.weight.view(torch.int16)), "not even a zero's sign differs"
        assert (stored.codes.dtype, stored.zero.dtype) == (torch.uint8, torch.uint8)
        assert int(stored.codes.max()) < 2**stored.bits
    if result.factors is not None:
        assert torch.equal((result.factors.left.float() @ result.factors.right.float()).bfloat16(), result.weight)
    if result.keep is not None:
        assert result.keep.dtype == torch.bool
        assert not result.weight[~result.keep].any()


@pytest.mark.parametrize("name", [n for n in METHODS if METHODS[n].kind != "low-rank"])
def test_what_an_earlier_stage_pruned_stays_zero(name):
    weight = random(48, WIDTH)
    keep = random(48, WIDTH, seed=9) > 0
    result = small(name).compress(weight * keep, stats_needed(name), keep)
    assert not result.weight[~keep].any()
    assert result.keep is not None
    assert not (result.keep & ~keep).any()


@pytest.mark.parametrize("name", list(METHODS))
def test_a_method_describes_itself(name):
    method = METHODS[name]
    assert isinstance(method(), Method)
    assert is_dataclass(method)
    assert method.__dataclass_params__.frozen
    assert method.source
    assert method.kind in ("pruning", "quantisation", "low-rank")
    assert fields(method)
