"""Linear layers on a GPU that compute with packed codes, in the order that its matrix kernels read."""

from __future__ import annotations

from torch import Tensor, nn

from llmc.errors import UserError
from llmc.kernels import gpu_ops
from llmc.kernels.pack import BITS, Planar, fitting_step_words, planar
from llmc.ops.codes import Codes

GROUP_SIZES = (256, 128, 64, 32, 16)
"""What groups that fit no step are cut into, each part with the scale of the whole."""
SCALE_LOSS = 2.0**-10
"""The most, relatively, that a scale may lose in float16: rounding takes half of it, so only very small ones fail."""


class GpuPackedLinear(nn.Module):
    """x W^T + bias by `llmc::wq_matmul`, whatever the activations' dtype; no dense copy is held.

    Up to 256 rows of x the kernels compute with the codes, above the matrix is written out in each call
    (`llmc.kernels.wq_launch`). On a CPU the operator's plain reference computes the same. `order` (in,) int64 puts
    act-order columns into the order of their groups, else None. The buffers are those of `Planar`; none is ever saved.
    """

    def __init__(self, weight: Planar, bias: nn.Parameter | None, order: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.n_out, weight.n_in
        self.bits, self.group_size, self.step_words = weight.bits, weight.group_size, weight.step_words
        self.gain = weight.gain
        self.register_buffer("words", weight.words, persistent=False)
        self.register_buffer("scale", weight.scale, persistent=False)
        self.register_buffer("zero", weight.zero, persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.bias = bias

    words: Tensor
    scale: Tensor
    zero: Tensor | None
    order: Tensor | None

    @property
    def n_weights(self) -> int:
        """The weights that the codes stand for."""
        return self.out_features * self.in_features

    @property
    def matrix(self) -> Planar:
        """The quantised matrix, its columns in the order of their groups."""
        return Planar(
            words=self.words,
            scale=self.scale,
            zero=self.zero,
            gain=self.gain,
            bits=self.bits,
            group_size=self.group_size,
            step_words=self.step_words,
            n_out=self.out_features,
            n_in=self.in_features,
        )

    def forward(self, x: Tensor) -> Tensor:
        ordered = x if self.order is None else x.index_select(-1, self.order)
        y = gpu_ops.wq_matmul(ordered, self.matrix)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bits={self.bits}, group_size={self.group_size}"


def gpu_packed_linear(codes: Codes, bias: nn.Parameter | None) -> GpuPackedLinear | str:
    """The layer that computes with these codes on a GPU, or the reason why there is none.

    The codes are repacked here, once, on the device where they are.
    """
    if codes.bits not in BITS:
        return f"codes of {codes.bits} bits, where 2, 3, 4 or 8 are needed"
    try:
        codes, order = codes.regrouped()
    except ValueError as error:
        return f"{error}, and equal ones are needed"
    size = _fitting_group_size(codes)
    if size is None:
        return f"groups of {codes.group_size} columns, which fit no step of the kernels (multiples of 16 do)"
    repeats = codes.group_size // size
    scale = codes.scale.repeat_interleave(repeats, 1)
    zero = None if codes.symmetric else codes.zero.repeat_interleave(repeats, 1)
    try:
        weight = planar(codes.codes, scale, zero, bits=codes.bits, group_size=size)
    except UserError as error:  # whatever else the layout refuses
        return str(error)
    if _loses_scales(weight, scale):
        return "scales too far apart for float16"
    return GpuPackedLinear(weight, bias, order)


def _fitting_group_size(codes: Codes) -> int | None:
    """The group size itself where the kernels take it, else the widest part of it that they take."""
    size = codes.group_size
    if codes.scale.shape[1] == 1 or fitting_step_words(codes.bits, size) is not None:
        return size
    return next((part for part in GROUP_SIZES if size % part == 0 and fitting_step_words(codes.bits, part)), None)


def _loses_scales(weight: Planar, scale: Tensor) -> bool:
    """Whether float16 holds a scale less well than rounding to its precision would."""
    exact = scale.float()
    held = weight.scale[: exact.shape[1], : len(exact)].T.float() * weight.gain
    return not bool(((held - exact).abs() <= SCALE_LOSS * exact.abs()).all())
