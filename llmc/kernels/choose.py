"""Which weights to keep, on whatever device the scores are: by the kernels where they are in use, else by torch.

The same choice either way, count and ties included; what prunes calls this.
"""

from __future__ import annotations

from torch import Tensor

from llmc.kernels import gpu_setting, select
from llmc.ops import masks
from llmc.ops.masks import Pattern


def drop_lowest(score: Tensor, sparsity: float) -> Tensor:
    """`llmc.ops.masks.drop_lowest`. Shapes: score (…, width) of finite numbers -> keep, the same shape, bool."""
    if gpu_setting.in_use(score.device):
        return select.drop_lowest(score, sparsity)
    return masks.drop_lowest(score, sparsity)


def keep_n_of_m(score: Tensor, pattern: Pattern) -> Tensor:
    """`llmc.ops.masks.keep_n_of_m`. Shapes: score (…, width) of finite numbers -> keep, the same shape, bool.

    The kernel takes N of 2, 4, 8, …; for others torch chooses.
    """
    if gpu_setting.in_use(score.device) and pattern.of & (pattern.of - 1) == 0:
        return select.keep_n_of_m(score, pattern)
    return masks.keep_n_of_m(score, pattern)
