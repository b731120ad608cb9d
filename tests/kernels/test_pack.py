"""The pair-planar order: an identity, the place of every bit by its definition, and what does not fit."""

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels.pack import (
    BITS,
    STEP_WORDS,
    fitting_step_words,
    pack_planar,
    planar,
    planes,
    step_size,
    unpack_planar,
    words_per_step,
)
from llmc.kernels.reference import dequantised


def some_codes(rows, width, bits, seed=0):
    return torch.randint(0, 2**bits, (rows, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("step_words", [8, 16, 32])
def test_unpacking_is_the_inverse_of_packing(bits, step_words):
    width = 3 * step_size(bits, step_words)
    for codes in (some_codes(5, width, bits), torch.zeros(1, width), torch.full((1, width), 2**bits - 1)):
        codes = codes.to(torch.uint8)
        words = pack_planar(codes, bits, step_words)
        assert words.dtype == torch.int32 and words.numel() * 32 == codes.numel() * bits
        assert torch.equal(unpack_planar(words, bits, step_words), codes)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_code_lies_where_the_definition_says(bits):
    width, step_words = 2 * step_size(bits, 8), 8
    codes = some_codes(2, width, bits)
    words = pack_planar(codes, bits, step_words).long() & 0xFFFFFFFF
    for k in range(width):
        step, inside = divmod(k, step_size(bits, step_words))
        plane, pair = divmod(inside, 2 * step_words)
        word = words[:, step * step_words + pair // 2]
        assert torch.equal((word >> (plane * bits + 16 * (pair % 2))) & (2**bits - 1), codes[:, k].long())


def test_the_sixteenth_three_bit_plane_is_spread_over_three_words():
    codes = torch.zeros(1, 256, dtype=torch.uint8)
    codes[0, 15 * 16 + 3] = 0b101  # plane 15, word 1, high half
    words = pack_planar(codes, 3, 8).view(3, 8).long() & 0xFFFFFFFF
    assert words[0, 1] == 1 << 31 and words[1, 1] == 0 and words[2, 1] == 1 << 31 and words.count_nonzero() == 2


@pytest.mark.parametrize("bits", BITS)
def test_the_default_step_is_whole_groups_of_128_and_planes_a_tensor_core_takes(bits):
    width = fitting_step_words(bits, 128)
    assert width == STEP_WORDS[bits] and step_size(bits, width) % 128 == 0 and 2 * width >= 16
    assert words_per_step(bits, width) * 32 == step_size(bits, width) * bits
    assert planes(bits) % (step_size(bits, width) // 128) == 0


@pytest.mark.parametrize(("bits", "group"), [(4, 96), (2, 8), (3, 48), (8, 8)])
def test_groups_that_no_step_fits_are_refused_with_a_way_out(bits, group):
    codes = torch.zeros(1, group, dtype=torch.uint8)
    with pytest.raises(UserError, match="don't fit"):
        planar(codes, torch.ones(1, 2), None, bits=bits, group_size=group)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_packed_matrix_dequantises_exactly_with_every_kind_of_zero(dtype):
    codes = some_codes(3, 320, 4)
    scale = (torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) * 0.01 + 0.001).to(dtype)
    zeros = {"none": None, "whole": torch.tensor([[0, 15, 8, 3, 7]] * 3), "fractions": torch.full((3, 5), -2.3)}
    for name, zero in zeros.items():
        weight = planar(codes, scale, zero, bits=4, group_size=64)
        by_column = (8.0 if zero is None else zero.double().repeat_interleave(64, 1)) + torch.zeros(3, 320)
        expected = (codes.double() - by_column) * scale.double().repeat_interleave(64, 1)
        torch.testing.assert_close(
            dequantised(weight), expected.double(), rtol=2e-7 if name == "fractions" else 0, atol=0
        )
        assert weight.zero is None or weight.zero.dtype == (torch.float32 if name == "fractions" else torch.float16)


def test_packed_bytes_are_the_bits_and_the_scales_and_nothing_else():
    weight = planar(some_codes(256, 1024, 3), torch.ones(256, 8), None, bits=3, group_size=128)
    assert weight.size_bytes == 256 * 1024 * 3 // 8 + 256 * 8 * 2
