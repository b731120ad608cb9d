"""What a toxicity scorer is, how one is named, and the store of what it has scored already."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from llmc.catalog import catalog, pick
from llmc.folders.output_file import append

DEFAULT = "unbiased_roberta"


@runtime_checkable
class ToxicityScorer(Protocol):
    """Scores texts between 0 and 1. Loads nothing before it is asked for something."""

    @property
    def name(self) -> str: ...

    @property
    def source(self) -> str:
        """Who made it, and under which licence."""

    @property
    def revision(self) -> str:
        """What exactly scores: package and weights. Two revisions are not comparable."""

    def with_setting(self, setting: str) -> ToxicityScorer:
        """The scorer with what stands behind the colon of NAME:SETTING (weights' folder or id, a word list)."""
        ...

    def check(self) -> None:
        """Raises `UserError` with the way out when it can't work here: a missing package, file or key."""
        ...

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """The toxicity of every text, in [0, 1]; None for a blank text and where scoring failed."""
        ...


def resolve(name: str | None) -> ToxicityScorer:
    """The scorer called NAME or NAME:SETTING; `DEFAULT` for None. Raises `UserError` for an unknown name."""
    kind, _, setting = (name or DEFAULT).partition(":")
    scorer: ToxicityScorer = pick(catalog("llmc.trust.toxicity_scorers", "SCORER"), kind, "toxicity scorer")
    return scorer.with_setting(setting) if setting else scorer


def identity(scorer: ToxicityScorer) -> str:
    """Name and revision, as every result records them."""
    return f"{scorer.name}@{scorer.revision}"


def cache_folder() -> Path:
    """Where scores are kept between runs: `$LLMC_CACHE`, or a folder of the user's cache."""
    return Path(os.environ.get("LLMC_CACHE", Path.home() / ".cache/llmc")) / "toxicity"


@dataclass
class Remembered:
    """A scorer that scores no text twice. With a folder it remembers across processes."""

    scorer: ToxicityScorer
    folder: Path | None = None
    _known: dict[str, float | None] = field(default_factory=dict, init=False)
    _read: bool = field(default=False, init=False)

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """As the scorer itself; blank texts are None without asking it. Failures are not remembered."""
        self._load()
        keys = [self._key(text) for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if text.strip() and key not in self._known}
        given = dict(zip(new, self.scorer.score(list(new.values())), strict=True)) if new else {}
        fresh = {key: value for key, value in given.items() if value is not None}
        self._known.update(fresh)
        self._save(fresh)
        return [self._known.get(key, given.get(key)) for key in keys]

    def _key(self, text: str) -> str:
        return hashlib.sha256(f"{identity(self.scorer)}\0{text}".encode()).hexdigest()

    def _file(self) -> Path | None:
        name = hashlib.sha256(identity(self.scorer).encode()).hexdigest()[:16]
        return None if self.folder is None else self.folder / f"{self.scorer.name}-{name}.jsonl"

    def _load(self) -> None:
        file = self._file()
        if not self._read and file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8").split("\n"):
                try:
                    key, value = json.loads(line)
                except ValueError:  # the last line of a run that was killed
                    continue
                self._known[key] = value
        self._read = True

    def _save(self, fresh: dict[str, float]) -> None:
        file = self._file()
        if file is not None and fresh:
            file.parent.mkdir(parents=True, exist_ok=True)
            append(file, "".join(json.dumps([key, value]) + "\n" for key, value in fresh.items()))
