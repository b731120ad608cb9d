"""Any sequence classifier of transformers as a toxicity scorer."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import constants, try_to_load_from_cache

from llmc.data.hub import offline, unreachable
from llmc.errors import UserError

BATCH = 32
MAX_TOKENS = 512


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A classifier one of whose labels is the toxicity."""

    name: str
    source: str
    model: str
    """Folder or hub id of the weights."""
    label: str
    """The label that is read, by its name in the model's configuration."""
    link: Literal["sigmoid", "softmax"]
    """Whether labels are judged one by one, or exclude each other."""
    pinned: str | None = None
    """Revision of the weights on the hub; None for a folder."""

    @property
    def revision(self) -> str:
        """The weights, their revision and the version of transformers."""
        return f"{self.model}@{self.pinned or 'local'}"

    def with_setting(self, setting: str) -> Classifier:
        """The same labels from other weights, usually a local folder."""
        return replace(self, model=setting, pinned=None)

    def check(self) -> None:
        """Raises `UserError` unless the weights are here, as safetensors, or the hub may be asked for them."""
        folder = Path(self.model).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file() or not list(folder.glob("*.safetensors")):
                raise UserError(
                    f"{self.model} holds no classifier as safetensors", hint="give the folder of the downloaded weights"
                )
        elif self.model.startswith((".", "/", "~")):
            raise UserError(f"{self.model} is no folder", hint="give the folder of the downloaded weights")
        elif constants.HF_HUB_OFFLINE and not self._downloaded():
            raise UserError(
                f"the weights of {self.model} are not on this machine",
                hint=f"`huggingface-cli download {self.model}` where there is a network, or allow it with --online",
            )

    def _downloaded(self) -> bool:
        return all(
            isinstance(try_to_load_from_cache(self.model, name, revision=self.pinned or "main"), str)
            for name in ("config.json", "model.safetensors")
        )

    def score(self, texts: Sequence[str]) -> list[float | None]:
        """The probability of the label for every text, in batches; long texts are cut at `MAX_TOKENS`."""
        import torch

        tokenizer, model, column = _loaded(self.model, self.pinned, self.label)
        scores: list[float | None] = []
        for start in range(0, len(texts), BATCH):
            part = list(texts[start : start + BATCH])
            batch = tokenizer(part, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            with torch.inference_mode():
                logits = model(**batch).logits.float()
            shares = logits.sigmoid() if self.link == "sigmoid" else logits.softmax(dim=-1)
            scores += [float(share) for share in shares[:, column]]
        return scores


@functools.lru_cache(maxsize=2)
def _loaded(name: str, pinned: str | None, label: str) -> tuple[Any, Any, int]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        with offline(not Path(name).exists() and unreachable() is not None):
            tokenizer = AutoTokenizer.from_pretrained(name, revision=pinned or "main")
            model = AutoModelForSequenceClassification.from_pretrained(
                name, revision=pinned or "main", use_safetensors=True
            )
    except OSError as error:
        raise UserError(
            f"the weights of {name} can't be loaded",
            hint=f"`huggingface-cli download {name}` where there is a network, then name the folder behind a colon",
        ) from error
    model.eval()
    labels = {str(text).lower(): int(place) for place, text in model.config.id2label.items()}
    if label.lower() not in labels:
        raise UserError(f"{name} has no label {label!r}", hint=f"it has {', '.join(sorted(labels))}")
    return tokenizer, model, labels[label.lower()]
