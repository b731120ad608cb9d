"""Codes of 2, 3, 4 and 8 bits in the pair-planar order that the matrix kernels read. Plain torch, bit-exact.

A row is cut into steps. A step of KW words (3 KW words for 3 bits) holds its codes in planes of 2 KW neighbours:
plane j is the same few bits of both 16-bit halves of every word, half h of word c holding code 2 c + h. So one AND
with a mask gives two neighbours in one register, which is the operand of a tensor core, and the activations that a
plane meets are contiguous. Made once when a model is loaded; checkpoints keep their standard layouts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from llmc.errors import UserError

BITS = (2, 3, 4, 8)
STEP_WORDS = {8: 32, 4: 32, 3: 8, 2: 16}
"""Default KW: with it a step is 128 codes of 8 bits, or 256 of fewer, and a plane at least 16."""

ROW_TILE = 128
"""Rows are filled up to a multiple of this with zero scales, so that no kernel has to mask them."""


@dataclass(frozen=True, kw_only=True)
class Planar:
    """A quantised matrix: real = (code - zero) * scale * gain.

    Shapes: words (rows, n_steps * words per step) int32; scale (groups, rows) float16 and zero the same, rows
    contiguous; all padded to whole tiles and steps, with scale 0 where there is no weight.
    """

    words: Tensor
    scale: Tensor
    """Scales over `gain`, which is a power of two: so those of a bfloat16 model are exact in float16."""
    zero: Tensor | None
    """None: 2**(bits - 1) everywhere. float16 says that all are whole numbers; float32, that some are not."""
    gain: float
    bits: int
    group_size: int
    """Columns in a group, never -1."""
    step_words: int
    n_out: int
    n_in: int

    @property
    def size_bytes(self) -> int:
        """What the tensors really take."""
        held = [self.words, self.scale] + ([] if self.zero is None else [self.zero])
        return sum(t.numel() * t.element_size() for t in held)

    def to(self, device: str | torch.device) -> Planar:
        """The same on another device."""
        zero = None if self.zero is None else self.zero.to(device)
        return replace(self, words=self.words.to(device), scale=self.scale.to(device), zero=zero)


def planes(bits: int) -> int:
    """How many planes a step has: the codes in a 16-bit half, or in the three halves that 3-bit codes fill."""
    return 16 if bits == 3 else 16 // bits


def words_per_step(bits: int, step_words: int) -> int:
    """The int32 words of a row in a step."""
    return 3 * step_words if bits == 3 else step_words


def step_size(bits: int, step_words: int) -> int:
    """The codes of a row in a step."""
    return 2 * step_words * planes(bits)


def fitting_step_words(bits: int, group_size: int) -> int | None:
    """The widest step that groups of this size allow; None if there is none.

    A group must be whole steps, or a step whole groups and a group whole planes of at least 16 codes, which is the
    least that a 16-bit tensor core takes.
    """
    width = STEP_WORDS[bits]
    while width >= 8:
        step = step_size(bits, width)
        if group_size % step == 0 or (step % group_size == 0 and group_size % (2 * width) == 0):
            return width
        width //= 2
    return None


def pack_planar(codes: Tensor, bits: int, step_words: int) -> Tensor:
    """The codes of each row in pair-planar words.

    Shapes: codes (rows, n_steps * step_size) uint8 in [0, 2**bits - 1]; result (rows, n_steps * words_per_step) int32.
    """
    rows, width = codes.shape
    step = step_size(bits, step_words)
    if width % step:
        raise ValueError(f"{width} codes are not whole steps of {step}")
    parts = codes.view(rows, width // step, planes(bits), step_words, 2)
    if bits == 3:
        words = torch.stack([_three_bit_word(parts, word) for word in range(3)], dim=2)
    else:
        words = torch.zeros(rows, width // step, step_words, dtype=torch.int32, device=codes.device)
        for plane in range(planes(bits)):
            words |= _pairs(parts, plane) << (plane * bits)
    return words.view(rows, -1)


def _pairs(parts: Tensor, plane: int) -> Tensor:
    """Both neighbours of each word at the foot of their halves. Shapes: (rows, steps, planes, KW, 2) -> (…, KW)."""
    pair = parts[:, :, plane].to(torch.int32)
    return pair[..., 0] | (pair[..., 1] << 16)


def _three_bit_word(parts: Tensor, word: int) -> Tensor:
    """Word `word` of the three: five planes at bits 0, 3, … 12, and on top its bit of the sixteenth."""
    packed = ((_pairs(parts, 15) >> word) & 0x00010001) << 15
    for place in range(5):
        packed |= _pairs(parts, 5 * word + place) << (3 * place)
    return packed


def unpack_planar(words: Tensor, bits: int, step_words: int) -> Tensor:
    """The codes that `pack_planar` packed. Shapes: as there, the other way round; result uint8."""
    rows = words.shape[0]
    parts = words.view(rows, -1, words_per_step(bits, step_words))
    mask = (2**bits - 1) * 0x00010001
    if bits == 3:
        triple = parts.view(rows, -1, 3, step_words)
        found = [(triple[:, :, j // 5] >> (3 * (j % 5))) & mask for j in range(15)]
        found.append(_sixteenth_plane(triple))
    else:
        found = [(parts >> (j * bits)) & mask for j in range(planes(bits))]
    pairs = torch.stack(found, dim=2)  # (rows, steps, planes, KW)
    halves = torch.stack([pairs & 0xFFFF, (pairs >> 16) & 0xFFFF], dim=-1)
    return halves.to(torch.uint8).view(rows, -1)


def _sixteenth_plane(triple: Tensor) -> Tensor:
    """The 3-bit codes whose bits lie on top of the three words. Shapes: (rows, steps, 3, KW) -> (rows, steps, KW)."""
    tops = (triple >> 15) & 0x00010001
    return tops[:, :, 0] | (tops[:, :, 1] << 1) | (tops[:, :, 2] << 2)


def planar(
    codes: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    *,
    bits: int,
    group_size: int,
    step_words: int | None = None,
) -> Planar:
    """A quantised matrix in the kernels' layout; a `UserError` when its groups don't fit that.

    Shapes: codes (out, in) uint8; scale (out, groups) any float; zero the same, any number, fractions allowed, or None
    for 2**(bits - 1). `group_size` may be -1: one group per row.
    """
    n_out, n_in = codes.shape
    size = n_in if group_size == -1 else group_size
    whole_row = scale.shape[1] == 1
    width = step_words or (STEP_WORDS[bits] if whole_row else fitting_step_words(bits, size))
    if width is None:
        raise UserError(
            f"groups of {size} columns with {bits} bits don't fit the matrix kernels",
            hint="use a group size that is a multiple of 32, or -1 for one group per row",
        )
    pad_in, pad_out = -n_in % step_size(bits, width), -n_out % ROW_TILE
    padded = torch.nn.functional.pad(codes, (0, pad_in, 0, pad_out))
    size = n_in + pad_in if whole_row else size
    n_groups = (n_in + pad_in) // size
    gain = _power_of_two_above(scale)

    whole = zero is None or bool((zero == zero.round()).all())

    def laid_out(of_groups: Tensor, dtype: torch.dtype) -> Tensor:
        fill = (0, n_groups - of_groups.shape[1], 0, pad_out)
        return torch.nn.functional.pad(of_groups.float(), fill).T.to(dtype).contiguous()

    return Planar(
        words=pack_planar(padded.contiguous(), bits, width),
        scale=laid_out(scale.float() / gain, torch.float16),
        zero=None if zero is None else laid_out(zero, torch.float16 if whole else torch.float32),
        gain=gain,
        bits=bits,
        group_size=size,
        step_words=width,
        n_out=n_out,
        n_in=n_in,
    )


def _power_of_two_above(scale: Tensor) -> float:
    """The least power of two that is above every scale; 1 if all are 0."""
    largest = float(scale.abs().max())
    return 2.0 ** math.frexp(largest)[1] if largest else 1.0
