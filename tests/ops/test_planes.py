import pytest
import torch

from llmc.ops.planes import pack_planes, plane_widths, row_bytes, unpack_planes


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("n", [1, 7, 8, 24, 33, 128])
def test_what_is_packed_comes_back(bits, n):
    draws = torch.Generator().manual_seed(n)
    codes = torch.randint(0, 2**bits, (5, n), generator=draws, dtype=torch.uint8)
    codes[0], codes[1] = 0, 2**bits - 1
    packed = pack_planes(codes, bits)
    assert packed.dtype == torch.uint8 and packed.shape == (5, row_bytes(n, bits))
    assert torch.equal(unpack_planes(packed, bits, n), codes)


@pytest.mark.parametrize("bits", range(1, 9))
def test_no_bit_is_wasted(bits):
    assert row_bytes(256, bits) == 256 * bits // 8 and sum(plane_widths(bits)) == bits


def test_where_a_code_stands():
    """Three bits, eight codes: byte 0 and 1 hold the low two bits of codes 0 2 4 6 and 1 3 5 7, byte 2 the top bits."""
    for place in range(8):
        codes = torch.zeros(1, 8, dtype=torch.uint8)
        codes[0, place] = 0b110
        low, top = place % 2, place
        expected = [0, 0, 1 << top]
        expected[low] = 0b10 << 2 * (place // 2)
        assert pack_planes(codes, 3)[0].tolist() == expected


@pytest.mark.parametrize("bits", [0, 9])
def test_other_widths_are_refused(bits):
    with pytest.raises(ValueError, match="1 to 8 bits"):
        plane_widths(bits)
