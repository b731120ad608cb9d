"""Detoxify's `unbiased` model with the library's own weights: the nearest local stand-in for Perspective."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmc.errors import UserError

BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Detoxify:
    """Unitary's classifier by its own package."""

    name: str = "detoxify"
    source: str = "github.com/unitaryai/detoxify, Apache-2.0"
    kind: str = "unbiased"
    """Which of the package's models."""

    @property
    def revision(self) -> str:
        """The model and the version of the package, which pins its weights."""
        try:
            return f"{self.kind}-{importlib.metadata.version('detoxify')}"
        except importlib.metadata.PackageNotFoundError:
            return f"{self.kind}-missing"

    def with_setting(self, setting: str) -> Detoxify:
        """Another of the package's models."""
        return replace(self, kind=setting)

    def check(self) -> None:
        """Raises `UserError` where the package is missing."""
        if importlib.util.find_spec("detoxify") is None:
            raise UserError(
                "the toxicity scorer detoxify is not installed",
                hint="pip install 'llmc[toxicity]', or name another with --scorer toxicity=unbiased_roberta",
            )

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """The attribute `toxicity` of every text."""
        self.check()
        model = _loaded(self.kind)
        scores: list[float | None] = []
        for start in range(0, len(texts), BATCH):
            scores += [float(value) for value in model.predict(list(texts[start : start + BATCH]))["toxicity"]]
        return scores


@functools.lru_cache(maxsize=1)
def _loaded(kind: str) -> Any:
    from detoxify import Detoxify as Library

    return Library(kind)


SCORER = Detoxify()
