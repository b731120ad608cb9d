"""Tries an architecture on a small random copy before any work: compressed, written, loaded, blocks compared."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import json
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, PretrainedConfig

from llmc.compress.method import Method
from llmc.compress.plan import Job
from llmc.compress.walk.capture import hidden_of
from llmc.data.calibration import Calibration
from llmc.errors import UserError
from llmc.models.layout import find_blocks
from llmc.models.shrink import small_config, small_model, small_tokens

logger = logging.getLogger(__name__)

TOLERANCE = 1e-3
"""Largest change of a block's output, over its norm, between the walk and the loaded files; float32 leaves 1e-6."""

Compress = Callable[[Job], Any]


def try_small_copy(config: PretrainedConfig, stages: Sequence[Method], compress: Compress) -> str | None:
    """Raises `UserError` with the block and the number where a small copy's files compute something else than the walk.

    A warning where no small copy could be made or run, None where all is well. What went well is remembered by class,
    settings and versions, in the user's cache directory if it can be written.
    """
    small_stages = tuple(_small(stage) for stage in stages)
    place = place_of(config, small_stages)
    if place is not None and remembered(place):
        return None
    try:
        model = small_model(config)
        tokens = small_tokens(model.config)
        with torch.no_grad():
            model(input_ids=tokens, use_cache=False)
    except Exception as error:
        return f"No small copy of this architecture could be tried first ({str(error).strip()[:150]})."
    with tempfile.TemporaryDirectory(prefix="llmc-trial-") as folder:
        model.save_pretrained(f"{folder}/dense")
        try:
            compare(Path(folder), small_stages, tokens, compress)
        except UserError:
            raise
        except Exception as error:
            name = type(model).__name__
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{name}: a small copy can't be compressed ({reason[:150]})", hint=_HINT) from error
    if place is not None:
        remember(place)
    return None


def compare(folder: Path, stages: Sequence[Method], tokens: Tensor, compress: Compress, *, check: bool = False) -> None:
    """Compresses `folder`/dense, loads the result in plain transformers and compares the outputs of every block.

    `check`: with the check that ends every job too, whose part plain transformers takes here.
    """
    heard: dict[int, Tensor] = {}
    job = Job(
        model=folder / "dense",
        out=folder / "out",
        stages=tuple(stages),
        calibration=Calibration(tokens, "random", None),
        format="dense",
        check=check,
        hear=lambda index, out: heard.update({index: hidden_of(out)}),
    )
    compress(job)
    loaded, info = AutoModelForCausalLM.from_pretrained(
        folder / "out", dtype=torch.float32, output_loading_info=True, local_files_only=True
    )
    kind = type(loaded).__name__
    if wrong := sorted([*info["missing_keys"], *info["unexpected_keys"], *map(str, info["mismatched_keys"])]):
        raise UserError(f"{kind}: files that llmc writes don't load, the first wrong tensor is {wrong[0]}", hint=_HINT)
    seen: dict[int, Tensor] = {}
    _, blocks = find_blocks(loaded.eval())
    for index, block in enumerate(blocks):
        block.register_forward_hook(lambda _, args, out, index=index: seen.update({index: hidden_of(out)}))
    with torch.no_grad():
        loaded.base_model(input_ids=tokens, use_cache=False)
    for index, got in heard.items():
        off = float((got - seen[index]).norm() / seen[index].norm().clamp_min(1e-9))
        if not off <= TOLERANCE:
            raise UserError(
                f"{kind}: block {index} of a small copy gives an output that is {off:.1%} off once written and loaded",
                hint=_HINT,
            )


_HINT = "this architecture can't be compressed yet; please report its config.json"


def _small(stage: Method) -> Method:
    """The stage with one group a row, since the small copy's widths are its own."""
    changes: dict[str, Any] = {}
    if getattr(stage, "group_size", -1) != -1:
        changes["group_size"] = -1
    return dataclasses.replace(stage, **changes) if changes else stage  # type: ignore[type-var]


def place_of(config: PretrainedConfig, stages: Sequence[Method], *modules: str) -> Path | None:
    """Where this trial is remembered; None where there is no place for it. `modules` are code that it tries too."""
    code = hashlib.sha256()
    for name in (*modules, "llmc.compress.walk.capture", "llmc.compress.walk.walk", "llmc.models.experts",
                 "llmc.models.layout",
                 "llmc.models.skeleton", "llmc.models.pairs", "llmc.models.shrink", __name__):  # fmt: skip
        code.update(inspect.getsource(importlib.import_module(name)).encode())
    what = [type(config).__name__, small_config_text(config), [repr(s) for s in stages], transformers.__version__]
    code.update(json.dumps([*what, torch.__version__]).encode())
    root = os.environ.get("XDG_CACHE_HOME")
    try:
        base = Path(root) if root else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "llmc" / "tried" / f"{type(config).__name__}-{code.hexdigest()[:24]}.json"


def small_config_text(config: PretrainedConfig) -> str:
    """The small copy's settings as text; those of the config itself where no small copy can be made."""
    try:
        config = small_config(config)
    except Exception:
        logger.debug("no small copy of %s", type(config).__name__)
    return json.dumps(config.to_dict(), default=str, sort_keys=True)


def remembered(place: Path) -> bool:
    """Whether the trial went well before; whatever else lies there counts as nothing."""
    try:
        return bool(json.loads(place.read_text()) == {"tried": "well"})
    except (OSError, ValueError):
        return False


def remember(place: Path) -> None:
    """Writes the note in one step, so that no reader meets half of it; a place that can't be written is no loss."""
    try:
        if os.path.lexists(place):
            return  # whatever that is, it stays
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, suffix=".tmp", delete=False) as note:
            note.write(json.dumps({"tried": "well"}))
        Path(note.name).replace(place)
    except OSError as error:
        logger.info("the trial is not remembered: %s", error)
