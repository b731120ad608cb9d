"""The files beside the weights: config.json with its quantization_config, the tokenizer, the generation settings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmc.compress.format import Format, Stored
from llmc.compress.loadable import left_alone
from llmc.files import whole_file
from llmc.models.config import read_config
from llmc.models.folder import companions
from llmc.models.skeleton import Skeleton

if TYPE_CHECKING:
    from llmc.compress.plan import Job


def copy_companions(source: Path, out: Path) -> None:
    """Copies what stands beside the weights and is read by loaders or people."""
    for name in companions(source):
        (out / name).parent.mkdir(exist_ok=True)
        with whole_file(out / name) as copy, (source / name).open("rb") as file:
            shutil.copyfileobj(file, copy)


def final_config(job: Job, fmt: Format, stored: dict[str, Stored], skeleton: Skeleton) -> dict[str, Any]:
    """The source's config.json with what was changed: the dtype, and how the weights are stored."""
    config = read_config(job.model)
    config.pop("auto_map", None)  # code of the folder's own, which is neither run nor carried along
    if job.dtype is not None:
        config["dtype"] = str(job.dtype).removeprefix("torch.")
        config.pop("torch_dtype", None)
    if stored:
        quantization = fmt.config(stored, ignored=left_alone(skeleton, stored))
        if quantization is not None:
            config["quantization_config"] = quantization
    return config
