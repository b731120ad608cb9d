"""The matrix kernels as torch operators in the namespace `llmc`, for torch.compile and CUDA graphs.

On a CPU they compute the plain reference. Triton is imported when an operator first runs on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llmc.kernels import gpu_setting, reference
from llmc.kernels.pack import Planar

_library: Any = torch.library.Library("llmc", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define(
    "wq_matmul(Tensor x, Tensor words, Tensor scale, Tensor? zero, float gain, int bits, int group_size, "
    "int step_words, int n_out, int n_in) -> Tensor"
)


def wq_matmul(x: Tensor, weight: Planar) -> Tensor:
    """x W^T for a quantised matrix, as an operator that torch.compile sees as one. Shapes: x (…, in) -> (…, out)."""
    out: Tensor = torch.ops.llmc.wq_matmul(
        x,
        weight.words,
        weight.scale,
        weight.zero,
        weight.gain,
        weight.bits,
        weight.group_size,
        weight.step_words,
        weight.n_out,
        weight.n_in,
    )
    return out


def _planar(
    words: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    gain: float,
    bits: int,
    group_size: int,
    step_words: int,
    n_out: int,
    n_in: int,
) -> Planar:
    return Planar(
        words=words,
        scale=scale,
        zero=zero,
        gain=gain,
        bits=bits,
        group_size=group_size,
        step_words=step_words,
        n_out=n_out,
        n_in=n_in,
    )


def _wq_cpu(x: Tensor, words: Tensor, scale: Tensor, zero: Tensor | None, gain: float, *shape: int) -> Tensor:
    return reference.matmul(x, _planar(words, scale, zero, gain, *shape))


def _wq_cuda(x: Tensor, words: Tensor, scale: Tensor, zero: Tensor | None, gain: float, *shape: int) -> Tensor:
    from llmc.kernels import wq_launch

    weight = _planar(words, scale, zero, gain, *shape)
    return wq_launch.matmul(x, weight, magic=gpu_setting.mode() == "magic")


def _wq_fake(x: Tensor, words: Tensor, scale: Tensor, zero: Tensor | None, gain: float, *shape: int) -> Tensor:
    n_out = shape[-2]
    return x.new_empty(*x.shape[:-1], n_out)


_library.impl("wq_matmul", _wq_cpu, "CPU")
_library.impl("wq_matmul", _wq_cuda, "CUDA")
torch.library.register_fake("llmc::wq_matmul", _wq_fake, lib=_library)
