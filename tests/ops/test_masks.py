"""Masks against the definition by a stable sort."""

import numpy as np
import pytest
import torch

from llmc.errors import UserError
from llmc.ops import masks
from llmc.ops.masks import Pattern, drop_lowest, keep_n_of_m, n_drop, parse_pattern


def by_sorting(score: torch.Tensor, n: int) -> torch.Tensor:
    """The definition: sort each row, the lower index first among equals, and drop the first n."""
    keep = torch.ones_like(score, dtype=torch.bool)
    for row, marks in zip(score.tolist(), keep, strict=True):
        for index in sorted(range(len(row)), key=lambda i: (row[i], i))[:n]:
            marks[index] = False
    return keep


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_lowest_go_and_ties_go_by_index(sparsity, levels):
    score = torch.randint(levels, (20, 37), generator=torch.Generator().manual_seed(levels)).float()
    assert torch.equal(drop_lowest(score, sparsity), by_sorting(score, n_drop(37, sparsity)))


def test_half_precision_scores_lose_exactly_the_count():
    """bfloat16 has so many ties that "all at or below the threshold" would drop 0.09 % too many."""
    score = torch.randn(1, 100_000, generator=torch.Generator().manual_seed(0)).abs().bfloat16()
    assert int((~drop_lowest(score, 0.5)).sum()) == 50_000


def test_equal_scores_all_over_lose_the_first():
    assert drop_lowest(torch.zeros(2, 4), 0.5).tolist() == [[False, False, True, True]] * 2


@pytest.mark.parametrize(
    ("width", "sparsity", "count"), [(10, 0.9, 9), (10, 1 - 0.9, 1), (3, 0.99, 2), (1, 0.9, 0), (7, 0, 0)]
)
def test_the_count_is_the_nearest_and_never_all(width, sparsity, count):
    assert n_drop(width, sparsity) == count


@pytest.mark.parametrize("pattern", [(2, 4), (1, 4), (3, 4), (4, 8), (1, 2), (5, 16), (3, 12)])
@pytest.mark.parametrize("levels", [2, 1000])
def test_a_pattern_keeps_the_n_highest_of_m(pattern, levels):
    keep, of = pattern
    score = torch.randint(levels, (6, 2 * 48), generator=torch.Generator().manual_seed(of)).float()
    expected = by_sorting(score.reshape(-1, of), of - keep).view(6, 96)
    assert torch.equal(keep_n_of_m(score, Pattern(keep, of)), expected)


@pytest.mark.parametrize("text", ["4:2", "0:4", "2:2", "2", "a:b", "2:4:8", "-1:4"])
def test_what_is_no_pattern_is_refused(text):
    with pytest.raises(UserError, match="N:M"):
        parse_pattern(text)


def test_a_width_that_does_not_split_names_group_lengths_that_do():
    with pytest.raises(UserError, match="2, 3, 6, 9"):
        keep_n_of_m(torch.ones(2, 18), Pattern(2, 4))


@pytest.mark.parametrize("of", [2, 4, 7])
def test_ranks_are_the_same_by_numpy_and_by_torch_and_those_of_a_stable_sort(of):
    lanes = torch.randint(-2, 3, (of, 200), generator=torch.Generator().manual_seed(of)).float()
    expected = lanes.argsort(dim=0, stable=True).argsort(dim=0)
    for found in (torch.from_numpy(masks._ranks(lanes.numpy(), np)), masks._ranks(lanes, torch)):
        assert found.dtype == torch.int8 and torch.equal(found.long(), expected)
