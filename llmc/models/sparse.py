"""Models whose pruned linear layers stay without their zeros in memory: found by looking, read one at a time."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from llmc.errors import UserError
from llmc.kernels.fast_sparse import fast_sparse_linear
from llmc.kernels.sparse_linear import SparseLinear
from llmc.models.checkpoint import Checkpoint
from llmc.models.memory import tensor_bytes
from llmc.models.packed import AwaitingCodes, AwaitingLoader, Kernels, loader_options, places
from llmc.models.sparse_files import sampled_density
from llmc.ops.bitmask import Bitmask, n_kept

logger = logging.getLogger(__name__)

METHOD = "llmc-sparse"
LEAST_SAVED = 0.25
"""The share of its bytes that a matrix must save to be held sparse: the mask and the unpacking have their price."""
WORTH_A_LOOK = 0.85
"""The largest density of a sample at which the whole matrix is counted: what a sample misses is within the rest."""


def sparse_options(directory: str | Path, kernels: Kernels, device: str) -> dict[str, Any]:
    """What `from_pretrained` needs besides for a checkpoint with pruned matrices; {} for one that has none.

    Only a few rows of each matrix are read here, so a checkpoint without zeros loads as it would without this.
    """
    if kernels == "dense":
        return {}
    pruned = [layer for layer, density in sampled_density(Checkpoint(directory)).items() if density <= WORTH_A_LOOK]
    if not pruned:
        return {}
    told = {"directory": str(directory), "kernels": kernels, "device": device, "pruned": pruned}
    return loader_options(directory, METHOD, _SparseLoader, told)


class _SparseLoader(AwaitingLoader):
    """Layers whose weights have many zeros in a file like any other."""

    checkpoint: Checkpoint
    pruned: list[str]
    n_sparse: int
    saved: int
    """Bytes that the sparse layers take less than dense ones."""

    def open(self, checkpoint: Checkpoint, told: dict[str, Any]) -> None:
        self.checkpoint, self.pruned = checkpoint, told["pruned"]
        self.n_sparse = self.saved = 0

    def find(self, model: PreTrainedModel) -> dict[str, str]:
        found, _ = places(model, self.pruned)
        tied: dict[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
        shared = {*tied, *tied.values()}
        return {layer: place for layer, place in found.items() if f"{place}.weight" not in shared}

    def tensors(self, layer: str, place: str) -> set[str]:
        return {rf"^{re.escape(name)}\.weight$" for name in (layer, place)}

    def made(self, layer: str, awaiting: AwaitingCodes) -> nn.Module:
        weight = self.checkpoint.read([f"{layer}.weight"])[f"{layer}.weight"]
        if weight.shape != awaiting.shape:
            raise UserError(
                f"{layer} has {tuple(weight.shape)} weights where the model has {awaiting.shape}",
                hint="its weights don't belong to its config.json",
            )
        if awaiting.dtype.itemsize <= weight.dtype.itemsize:  # else the narrower are kept, and widened when unpacked
            weight = weight.to(awaiting.dtype)
        module = self._sparse(weight, awaiting)
        if isinstance(module, nn.Module):
            self.n_sparse += 1
            self.saved += weight.numel() * awaiting.dtype.itemsize - tensor_bytes(module) + _bytes(awaiting.bias)
            return module
        self.why_not[module] += 1
        return awaiting.filled(weight.to(awaiting.dtype))

    def _sparse(self, weight: Tensor, awaiting: AwaitingCodes) -> nn.Module | str:
        """The layer that holds `weight` sparse, or the reason to hold it dense, as a clause."""
        if self.kernels == "fast":
            weight = weight + 0.0  # what was pruned by a product with a mask has -0.0, a zero here like any other
        kept = n_kept(weight)
        if Bitmask.bytes_of(weight, kept) > (1 - LEAST_SAVED) * weight.nbytes:
            return f"without their zeros they would take more than {100 * (1 - LEAST_SAVED):.0f} % of their bytes"
        if self.kernels == "fast":
            return fast_sparse_linear(weight, kept, awaiting.bias, awaiting.dtype, self.device)
        return SparseLinear(Bitmask.of(weight), awaiting.bias)

    def say(self) -> None:
        if others := len(self.pruned) - len(self.places):
            self.why_not["they are embeddings, joined or no plain linear layers of this model"] += others
        _say(self.kernels, self.n_sparse, self.saved, self.why_not)


def _bytes(bias: Tensor | None) -> int:
    return 0 if bias is None else bias.nbytes


def _say(kernels: Kernels, n_sparse: int, saved: int, why_not: Counter[str]) -> None:
    if n_sparse:
        how = "unpacked in every call (kernels=dense holds them whole, to decode faster)"
        logger.info(
            "%d pruned matrices are held without zeros, %.1f MB less than dense, and %s",
            n_sparse, saved / 1e6, "multiplied so" if kernels == "fast" else how,
        )  # fmt: skip
    level = logging.WARNING if kernels == "fast" else logging.INFO
    for reason, n in why_not.items():
        logger.log(level, "%d pruned matrices are held dense, zeros and all: %s", n, reason)
