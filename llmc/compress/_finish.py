"""The files beside the weights: config.json with its quantization_config, the tokenizer, the generation settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmc.compress._loadable import left_alone
from llmc.compress.formats._format import Format, Stored
from llmc.models.config import read_config
from llmc.models.skeleton import Skeleton

if TYPE_CHECKING:
    from llmc.compress._plan import Job

COMPANIONS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip


def copy_companions(source: Path, out: Path) -> None:
    """Copies the tokenizer and generation files that the source has."""
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def final_config(job: Job, fmt: Format, stored: dict[str, Stored], skeleton: Skeleton) -> dict[str, Any]:
    """The source's config.json with what was changed: the dtype, and how the weights are stored."""
    config = read_config(job.model)
    if job.dtype is not None:
        config["dtype"] = str(job.dtype).removeprefix("torch.")
        config.pop("torch_dtype", None)
    if stored:
        quantization = fmt.config(stored, ignored=left_alone(skeleton, stored))
        if quantization is not None:
            config["quantization_config"] = quantization
    return config
