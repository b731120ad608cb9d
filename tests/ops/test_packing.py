import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.ops.packing import n_words, pack, pack_awq, unpack, unpack_awq

BITS = [1, 2, 3, 4, 5, 6, 7, 8]


def random_codes(rows: int, n: int, bits: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 2**bits, (rows, n), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def as_unsigned(words: torch.Tensor) -> list[list[int]]:
    return [[int(w) & 0xFFFFFFFF for w in row] for row in words]


def by_definition(codes: torch.Tensor, bits: int) -> list[list[int]]:
    """The stream of a row as one big Python integer, cut into words of 32 bits."""
    out = []
    for row in codes.tolist():
        stream = sum(code << (i * bits) for i, code in enumerate(row))
        out.append([(stream >> (32 * k)) & 0xFFFFFFFF for k in range(n_words(len(row), bits))])
    return out


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BITS), st.integers(1, 4), st.integers(1, 130), st.integers(0, 2**16))
def test_packing_is_the_definition_and_unpacking_undoes_it(bits, rows, n, seed):
    codes = random_codes(rows, n, bits, seed)
    words = pack(codes, bits)
    assert words.dtype == torch.int32 and words.shape == (rows, n_words(n, bits))
    assert as_unsigned(words) == by_definition(codes, bits)
    assert torch.equal(unpack(words, bits, n), codes)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**16))
def test_awq_packing_is_undone_by_unpacking(rows, words, seed):
    codes = random_codes(rows, 8 * words, 4, seed)
    assert torch.equal(unpack_awq(pack_awq(codes)), codes)


def test_words_by_hand():
    """The zero points of a symmetric 4-bit grid, as GPTQ v2 (8) and v1 (7) write them; counting, low nibble first."""
    assert as_unsigned(pack(torch.full((1, 8), 8, dtype=torch.uint8), 4)) == [[0x88888888]]
    assert as_unsigned(pack(torch.full((1, 8), 7, dtype=torch.uint8), 4)) == [[0x77777777]]
    assert as_unsigned(pack(torch.arange(8, dtype=torch.uint8)[None], 4)) == [[0x76543210]]
    assert as_unsigned(pack(torch.tensor([[1, 2, 3, 255]], dtype=torch.uint8), 8)) == [[0xFF030201]]


def test_awq_slots_by_hand():
    """Slots, low nibble first, hold columns 0 2 4 6 1 3 5 7."""
    assert as_unsigned(pack_awq(torch.arange(8, dtype=torch.uint8)[None])) == [[0x75316420]]


def test_three_bit_codes_straddle_words():
    """Code 10 starts at bit 30: 7 = 0b111 leaves two bits in word 0 and one in word 1."""
    codes = torch.zeros(1, 32, dtype=torch.uint8)
    codes[0, 10] = 7
    assert as_unsigned(pack(codes, 3)) == [[0xC0000000, 0x00000001, 0]]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("n", [8, 33, 96, 127])
@pytest.mark.parametrize("dim", [0, 1])
def test_packing_is_what_compressed_tensors_packs(bits, n, dim):
    """Their function as the oracle: codes as int8 around zero, along either dimension."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    codes = random_codes(5, n, bits)
    theirs = (codes.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
    if dim == 1:
        assert torch.equal(pack(codes, bits), pack_to_int32(theirs, bits, packed_dim=1))
    else:
        assert torch.equal(pack(codes, bits).T, pack_to_int32(theirs.T.contiguous(), bits, packed_dim=0))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", [(64, 8), (64, 1), (1, 64), (8, 64)])
def test_a_transposed_view_packs_like_its_copy_and_stays_as_it_was(bits, shape):
    """A single row or column is the trap: torch calls it contiguous whatever its strides are."""
    codes = random_codes(*shape, bits)
    before = codes.clone()
    words = pack(codes.T, bits)
    assert as_unsigned(words) == by_definition(codes.T.contiguous(), bits)
    assert torch.equal(unpack(words.T.contiguous().T, bits, shape[0]), codes.T)
    assert torch.equal(codes, before)


@pytest.mark.parametrize("bits", [0, 9])
def test_codes_of_no_bits_or_over_a_byte_are_our_own_mistake(bits):
    with pytest.raises(ValueError, match="1 to 8"):
        pack(torch.zeros(1, 8, dtype=torch.uint8), bits)
    with pytest.raises(ValueError, match="1 to 8"):
        unpack(torch.zeros(1, 1, dtype=torch.int32), bits, 4)
