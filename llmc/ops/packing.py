"""Integer codes as dense streams of bits in int32 words, lowest bits first; and AWQ's order of eight.

One stream serves every file format: compressed-tensors packs along a row's inputs, GPTQ packs the same stream and
turns it on its side, and the 3-bit files of both let a code straddle two words. Knows no format, name or file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llmc.ops.codes import row_blocks

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Slot k of a word of eight 4-bit codes holds the word's column AWQ_ORDER[k]."""


def n_words(n_codes: int, bits: int) -> int:
    """The int32 words that `n_codes` codes of `bits` bits fill."""
    return -(-n_codes * bits // 32)


def pack(codes: Tensor, bits: int) -> Tensor:
    """The codes of each row as one stream of bits: code i stands at bit i * bits, lowest bit first.

    Shapes: codes (rows, n) uint8, each in [0, 2**bits - 1]; result (rows, n_words(n, bits)) int32, the last word
    filled up with zero bits. Range: bits 1 to 8. At 3 bits, code 10 of a row lies in words 0 and 1.
    """
    _check_bits(bits)
    rows, n = codes.shape
    padded = torch.nn.functional.pad(codes, (0, -n % 32)) if n % 32 else codes
    if bits == 8:  # a code is a byte already
        return padded.reshape(-1).view(torch.int32).view(rows, -1)[:, : n_words(n, bits)].contiguous()
    eights = padded.reshape(rows, -1, 8)
    lane = torch.zeros(eights.shape[:2], dtype=torch.int64, device=codes.device)
    for k in range(8):  # eight codes of b bits are exactly b bytes
        lane |= eights[:, :, k].to(torch.int64) << (bits * k)
    stream = lane.view(torch.uint8).view(rows, -1, 8)[:, :, :bits].contiguous()
    return stream.view(-1).view(torch.int32).view(rows, -1)[:, : n_words(n, bits)].contiguous()


def unpack(words: Tensor, bits: int, n_codes: int) -> Tensor:
    """The first `n_codes` codes of each row of a stream of bits that `pack` made.

    Shapes: words (rows, at least n_words(n_codes, bits)) int32; result (rows, n_codes) uint8.
    """
    _check_bits(bits)
    rows = words.shape[0]
    stream = words.reshape(-1).view(torch.uint8).view(rows, -1)
    if bits == 8:
        return stream[:, :n_codes].contiguous()
    stream = torch.nn.functional.pad(stream, (0, -stream.shape[1] % bits)).view(rows, -1, bits)
    lane = torch.nn.functional.pad(stream, (0, 8 - bits)).view(torch.int64)  # (rows, eights, 1)
    shifts = torch.arange(0, 8 * bits, bits, device=words.device)
    codes = torch.empty((rows, n_codes), dtype=torch.uint8, device=words.device)
    for part in row_blocks(rows, n_codes):  # eight bytes a code in between
        spread: Tensor = (lane[part] >> shifts) & (2**bits - 1)
        codes[part] = spread.view(len(spread), -1)[:, :n_codes]
    return codes


def pack_awq(codes: Tensor) -> Tensor:
    """The 4-bit codes of each row, eight a word, in AWQ's interleaved order.

    Shapes: codes (rows, n) uint8 in [0, 15], n a multiple of 8; result (rows, n / 8) int32.
    """
    eights = codes.reshape(codes.shape[0], -1, 8)
    return pack(eights[:, :, list(AWQ_ORDER)].reshape(codes.shape), 4)


def unpack_awq(words: Tensor) -> Tensor:
    """The codes that `pack_awq` packed. Shapes: words (rows, n / 8) int32; result (rows, n) uint8."""
    slots = unpack(words, 4, words.shape[1] * 8).view(words.shape[0], -1, 8)
    codes = torch.empty_like(slots)
    codes[:, :, list(AWQ_ORDER)] = slots
    return codes.view(words.shape[0], -1)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= 8:
        raise ValueError(f"bits={bits}: a code has 1 to 8 bits")
