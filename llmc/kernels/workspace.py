"""Counters that a split sum needs on a device: zeros before a launch, and the kernel leaves zeros behind."""

from __future__ import annotations

import torch
from torch import Tensor

N_COUNTERS = 1 << 16
_counters: dict[tuple[torch.device, int], Tensor] = {}


def arrival_counters(device: torch.device, n: int) -> Tensor:
    """At least `n` zeros, int32, of the current stream's own: launches on one stream never overlap.

    While a graph is captured and none are there yet, they are made, and zeroed, inside the graph.
    """
    if n > N_COUNTERS or device.type != "cuda":
        return torch.zeros(n, dtype=torch.int32, device=device)
    key = (device, torch.cuda.current_stream(device).cuda_stream)
    if key not in _counters:
        if torch.cuda.is_current_stream_capturing():
            return torch.zeros(n, dtype=torch.int32, device=device)
        _counters[key] = torch.zeros(N_COUNTERS, dtype=torch.int32, device=device)
    return _counters[key]
