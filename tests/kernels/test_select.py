"""Selection without a sort, in triton's interpreter, against a stable sort and `llmc.ops.masks`."""

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels.select import drop_lowest, drop_lowest_of_all, keep_n_of_m
from llmc.ops import masks
from llmc.ops.masks import Pattern, n_drop

pytest.importorskip("triton", reason="the interpreter comes with triton")


def by_stable_sort(score, n):
    keep = torch.ones(score.shape, dtype=torch.bool)
    return keep.scatter_(-1, score.argsort(dim=-1, stable=True)[..., :n], False)


def scores(name, shape=(6, 200), seed=0):
    draw = torch.Generator().manual_seed(seed)
    normal = torch.randn(shape, generator=draw)
    special = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-40, float("inf"), 1.0, 1.0])
    return {
        "distinct": normal,
        "heavy ties": torch.randint(0, 4, shape, generator=draw).float(),
        "all equal": torch.full(shape, 0.5),
        "all zero": torch.zeros(shape),
        "signed zeros, denormals, infinity": special[torch.randint(0, 8, shape, generator=draw)],
        "half": normal.half(),
        "bfloat16": normal.bfloat16().float(),
    }[name]


KINDS = (
    "distinct", "heavy ties", "all equal", "all zero", "signed zeros, denormals, infinity", "half", "bfloat16"
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_rows_lose_exactly_their_lowest_as_in_a_stable_sort(kind):
    score = scores(kind)
    for sparsity in (0.0, 0.005, 0.5, 0.995, 1 - 1e-9):
        n = n_drop(200, sparsity)
        expected = by_stable_sort(score.float() + 0.0, n)
        assert torch.equal(drop_lowest(score, sparsity), expected)
        assert (expected.logical_not().sum(-1) == n).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_loses_exactly_its_lowest_as_in_a_stable_sort(kind):
    score = scores(kind, (30, 150))  # 4500 scores: two blocks of 4096
    for sparsity in (0.0, 0.3, 0.9999):
        expected = by_stable_sort(score.float().view(-1) + 0.0, n_drop(4500, sparsity)).view(30, 150)
        assert torch.equal(drop_lowest_of_all(score, sparsity), expected)


@pytest.mark.parametrize("pattern", [Pattern(2, 4), Pattern(1, 4), Pattern(1, 2), Pattern(5, 8)], ids=str)
def test_n_of_m_is_the_choice_of_the_plain_rule(pattern):
    for kind in KINDS:
        score = scores(kind)
        keep = keep_n_of_m(score, pattern)
        assert torch.equal(keep, masks.keep_n_of_m(score, pattern))
        assert (keep.view(-1, pattern.of).sum(-1) == pattern.keep).all()


def test_a_weights_score_is_its_size_times_its_columns_cost():
    weight, cost = scores("distinct"), torch.rand(200, generator=torch.Generator().manual_seed(4))
    cost[::7] = 0.0
    expected = masks.drop_lowest(weight.abs() * cost, 0.5)
    assert torch.equal(drop_lowest(weight, 0.5, cost=cost), expected)
    assert torch.equal(
        keep_n_of_m(weight, Pattern(2, 4), cost=cost), masks.keep_n_of_m(weight.abs() * cost, Pattern(2, 4))
    )


def test_strided_rows_and_narrow_rows_work():
    score = scores("distinct", (4, 400))[:, :200]
    assert torch.equal(drop_lowest(score, 0.4), masks.drop_lowest(score, 0.4))
    assert torch.equal(drop_lowest(score[:, :3], 0.4), masks.drop_lowest(score[:, :3], 0.4))


def test_a_pattern_that_is_no_power_of_two_is_refused_with_a_way_out():
    with pytest.raises(UserError, match="2, 4, 8"):
        keep_n_of_m(torch.zeros(1, 6), Pattern(1, 3))
