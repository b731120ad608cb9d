import pytest
import torch

from llmc.ops.codes import Codes


def make(bits, rows=6, columns=64, groups=4, *, symmetric=False, dtype=torch.bfloat16, shuffled=False, seed=0):
    draws = torch.Generator().manual_seed(seed)
    zero = torch.randint(0, 2**bits, (rows, groups), generator=draws, dtype=torch.uint8)
    return Codes(
        codes=torch.randint(0, 2**bits, (rows, columns), generator=draws, dtype=torch.uint8),
        scale=(torch.rand(rows, groups, generator=draws) + 0.01).to(dtype),
        zero=torch.full_like(zero, 2 ** (bits - 1)) if symmetric else zero,
        bits=bits,
        group=torch.randperm(columns, generator=draws) % groups if shuffled else None,
    )


def by_definition(codes):
    """The formula, weight by weight, in float64."""
    rows, columns = codes.codes.shape
    weight = torch.empty(rows, columns, dtype=torch.float64)
    for i in range(rows):
        for j in range(columns):
            g = int(codes.group[j]) if codes.group is not None else j // codes.group_size
            weight[i, j] = (int(codes.codes[i, j]) - int(codes.zero[i, g])) * float(codes.scale[i, g])
    return weight


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("shuffled", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_dense_weight_is_the_formula_rounded_once(bits, symmetric, shuffled, dtype):
    codes = make(bits, symmetric=symmetric, shuffled=shuffled)
    before = codes.codes.clone()
    assert torch.equal(codes.dequantised(dtype), by_definition(codes).to(dtype))
    assert torch.equal(codes.codes, before)  # the input is left alone
    assert codes.symmetric == symmetric


def test_blocks_of_rows_are_no_part_of_the_result(monkeypatch):
    codes = make(4, rows=37)
    whole = codes.dequantised(torch.float32)
    monkeypatch.setattr("llmc.ops.codes.BLOCK", 64 * 5)
    assert torch.equal(codes.dequantised(torch.float32), whole)


def test_regrouping_permutes_columns_and_nothing_else():
    codes = make(3, shuffled=True)
    regrouped, order = codes.regrouped()
    assert regrouped.group is None
    assert torch.equal(regrouped.dequantised(torch.float32), codes.dequantised(torch.float32)[:, order])
    assert make(3).regrouped()[1] is None


def test_groups_of_unlike_sizes_are_not_regrouped():
    codes = make(4, columns=8, groups=2)
    uneven = Codes(codes=codes.codes, scale=codes.scale, zero=codes.zero, bits=4, group=torch.tensor([0] * 3 + [1] * 5))
    with pytest.raises(ValueError, match="3 to 5"):
        uneven.regrouped()
    assert torch.equal(uneven.dequantised(torch.float64), by_definition(uneven))
