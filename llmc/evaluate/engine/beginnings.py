"""What the groups of a plan begin with, as caches, each computed once while the groups that need it go by."""

from __future__ import annotations

from typing import Any

import torch

from llmc.evaluate.engine.network import Network
from llmc.evaluate.engine.prefixes import Group, n_alike


class Beginnings:
    """Keeps the caches of one chain of stems: as a plan lists them, groups that share a stem follow one another."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self._stems: list[tuple[int, ...]] = []
        self._caches: list[Any] = []

    def of(self, group: Group) -> Any:
        """The cache of the group's prefixes, or of its stems where it has none; None where nothing is shared."""
        keep = n_alike(self._stems, group.stems)
        del self._stems[keep:], self._caches[keep:]
        for stem in group.stems[keep:]:
            self._caches.append(self.network.prefill(torch.tensor([stem]), self._last()))
            self._stems.append(stem)
        if not group.prefixes:
            return self._last()
        return self.network.prefill(torch.tensor(group.prefixes), self._last())

    def _last(self) -> Any:
        return self._caches[-1] if self._caches else None
