"""Linear layers whose large float32 products go to oneDNN on CPUs where torch's own are half as fast."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llmc.ops.product import by_onednn, linear


class OneDnnLinear(nn.Linear):
    """A `torch.nn.Linear`, its state included, whose outputs differ in the last bits (`llmc.ops.product`)."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def use_onednn_(model: nn.Module) -> None:
    """Lets the plain float32 linear layers of `model` compute with oneDNN, where that is the faster on this CPU."""
    if not by_onednn():
        return
    for module in model.modules():
        if type(module) is nn.Linear and "weight" in module._parameters and module.weight.dtype == torch.float32:
            module.__class__ = OneDnnLinear


def is_plain_linear(module: nn.Module) -> bool:
    """Whether `module` is a linear layer with nothing added, so that another may stand in its place."""
    return type(module) in (nn.Linear, OneDnnLinear)
