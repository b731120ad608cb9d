"""Memory that unpacked matrices take by turns: tens of new MB from the system take longer than unpacking into them."""

from __future__ import annotations

import math
import threading

import torch
from torch import Tensor

_held = threading.local()


def scratch(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A matrix that holds anything, for the caller's use until the next call in this thread gives it away again.

    On a CPU it lies in memory that is kept, as large as the largest matrix so far; other devices keep their own. Where
    gradients are recorded it is new memory, because a backward pass may want the matrix later.
    """
    if device.type != "cpu" or torch.is_grad_enabled():
        return torch.empty(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    memory: Tensor | None = getattr(_held, "memory", None)
    if memory is None or memory.numel() < size:
        _held.memory = None  # before there are two
        memory = _held.memory = torch.empty(size, dtype=torch.uint8)
    return memory[:size].view(dtype).view(shape)
