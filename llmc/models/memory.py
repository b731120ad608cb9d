"""What a model in memory really takes: the bytes of its tensors, and the weights that they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Packed(Protocol):
    """A layer whose weights are no parameters: it says how many weights its buffers stand for."""

    @property
    def n_weights(self) -> int:
        """The weights that the buffers stand for."""
        ...


def tensor_bytes(model: nn.Module) -> int:
    """The bytes of every storage behind the model's parameters and buffers; what is shared counts once."""
    storages = {}
    for tensor in _tensors(model):
        storage = tensor.untyped_storage()
        storages[storage.data_ptr(), str(tensor.device)] = storage.nbytes()
    return sum(storages.values())


def n_parameters(model: nn.Module) -> int:
    """The numbers that the model consists of; a packed weight counts like the dense one that it stands for.

    Codes that are held twice (tied tables, once to look up and once to multiply) count once.
    """
    return sum(p.numel() for p in model.parameters()) + sum(
        layer.n_weights for layer in packed_layers(model) if not getattr(layer, "is_copy", False)
    )


def packed_layers(model: nn.Module) -> list[Packed]:
    """The layers of the model that are packed: every module with `n_weights`."""
    return [module for module in model.modules() if isinstance(module, Packed)]


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()
