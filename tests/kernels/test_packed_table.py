"""Packed tables: rows looked up are those of the dense table, only they are unpacked, and a head works by parts."""

import pytest
import torch
from torch import nn

from llmc.kernels import packed_linear, packed_table
from llmc.kernels.packed_table import PackedEmbedding, PackedHead, looks_up_alone
from llmc.ops.codes import Codes

DRAWS = torch.Generator().manual_seed(0)


def random_codes(rows=200, width=64, bits=4, groups=2, symmetric=True):
    zero = torch.randint(0, 2**bits, (rows, groups), generator=DRAWS).to(torch.uint8)
    return Codes(
        codes=torch.randint(0, 2**bits, (rows, width), generator=DRAWS).to(torch.uint8),
        scale=torch.rand((rows, groups), generator=DRAWS).bfloat16() + 0.1,
        zero=torch.full_like(zero, 2 ** (bits - 1)) if symmetric else zero,
        bits=bits,
    )


def by_definition(codes):
    """(codes - zero) * scale, number by number."""
    size = codes.codes.shape[1] // codes.scale.shape[1]
    scale, zero = (each.float().repeat_interleave(size, 1) for each in (codes.scale, codes.zero))
    return (codes.codes.float() - zero) * scale


class Scaled(nn.Embedding):
    """As Gemma has it."""

    def __init__(self, *sizes, **how):
        super().__init__(*sizes, **how)
        self.register_buffer("embed_scale", torch.tensor(8.0), persistent=False)

    def forward(self, input_ids):
        return super().forward(input_ids) * self.embed_scale.to(self.weight.dtype)


class Placed(nn.Embedding):
    """Adds something that depends on the id itself: no table of rows."""

    def forward(self, input_ids):
        return super().forward(input_ids) + input_ids.unsqueeze(-1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kind, dtype", [(nn.Embedding, torch.float32), (Scaled, torch.bfloat16)])
def test_rows_are_those_of_the_dense_embedding(bits, symmetric, kind, dtype):
    codes = random_codes(bits=bits, symmetric=symmetric)
    like = kind(200, 64, padding_idx=199, dtype=dtype)
    packed = PackedEmbedding(PackedHead(codes), like, dtype)
    like.weight.data = by_definition(codes).to(dtype)
    ids = torch.tensor([[5, 199, 0], [5, 5, 120]])
    want = like(ids)
    like.weight.data.zero_()  # the packed one has no use for it
    assert torch.equal(packed(ids), want) and packed(ids).dtype == dtype
    assert packed(torch.zeros((2, 0), dtype=torch.long)).shape == (2, 0, 64)


def test_a_lookup_unpacks_the_rows_asked_for_and_no_other(monkeypatch):
    seen = []
    fill = packed_linear.fill_values_
    monkeypatch.setattr(
        packed_linear, "fill_values_", lambda weight, *rest: (seen.append(len(weight)), fill(weight, *rest))
    )
    packed = PackedEmbedding(PackedHead(random_codes(rows=5000)), nn.Embedding(5000, 64), torch.float32)
    packed(torch.tensor([[7, 7, 4999, 7]]))
    assert sum(seen) == 2


@pytest.mark.parametrize("with_bias", [False, True])
def test_a_head_by_parts_is_the_whole_product(monkeypatch, with_bias):
    codes = random_codes()
    bias = nn.Parameter(torch.randn(200, generator=DRAWS)) if with_bias else None
    x = torch.randn((3, 5, 64), generator=DRAWS)
    want = nn.functional.linear(x.double(), by_definition(codes).double(), None if bias is None else bias.double())
    monkeypatch.setattr(packed_table, "WEIGHTS_AT_A_TIME", 64 * 30)  # 6 parts of 30 rows and one of 20
    largest = []
    room = packed_table.scratch
    monkeypatch.setattr(packed_table, "scratch", lambda shape, *rest: (largest.append(shape[0]), room(shape, *rest))[1])
    torch.testing.assert_close(PackedHead(codes, bias)(x).double(), want, rtol=1e-5, atol=1e-5)
    assert largest == [30] * 6 + [20]


def test_only_what_looks_rows_up_and_nothing_else_can_be_packed():
    assert looks_up_alone(nn.Embedding(20, 16)) and looks_up_alone(Scaled(20, 16, padding_idx=3))
    assert not looks_up_alone(Placed(20, 16))
    assert not looks_up_alone(nn.Embedding(20, 16, max_norm=1.0))


def test_the_stand_in_for_the_weight_tells_its_shape_and_has_no_values():
    packed = PackedEmbedding(PackedHead(random_codes()), nn.Embedding(200, 64), torch.bfloat16)
    assert packed.weight.shape == (200, 64) and packed.weight.dtype == torch.bfloat16 and packed.weight.is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):
        packed.weight[3].tolist()
