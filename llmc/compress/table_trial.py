"""Tries quantised embeddings on a small random copy of an architecture: written, loaded packed, logits compared."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import PretrainedConfig

from llmc.compress.methods.rtn import RTN
from llmc.compress.plan import Job
from llmc.compress.trial import Compress, place_of, remember, remembered
from llmc.errors import UserError
from llmc.models.load import load_model
from llmc.models.shrink import small_model, small_tokens

TOLERANCE = 1e-4
"""Largest change of the logits, over their norm: the same weights, multiplied in other parts."""
_CODE = ("llmc.compress.tables", "llmc.kernels.packed_table", "llmc.models.packed", "llmc.models.packed_tables")
_HINT = "leave --embeddings out"


def try_small_tables(config: PretrainedConfig, job: Job, compress: Compress) -> str | None:
    """Raises `UserError` where a small copy, loaded packed, computes something else than the same weights held dense.

    A warning where no small copy could be made or run, None where all is well, which is remembered as in `trial`.
    """
    last = job.stages[-1]
    stage = RTN(bits=getattr(last, "bits", 4), group_size=-1, symmetric=getattr(last, "symmetric", True))
    place = place_of(config, (stage,), *_CODE)
    place = None if place is None else place.with_name(f"{place.stem}-{job.embeddings}.json")
    if place is not None and remembered(place):
        return None
    try:
        model = small_model(config)
        tokens = small_tokens(model.config)
        with torch.no_grad():
            model(input_ids=tokens, use_cache=False)
    except Exception as error:
        return f"No small copy could be tried with quantised embeddings ({str(error).strip()[:150]})."
    kind = type(model).__name__
    with tempfile.TemporaryDirectory(prefix="llmc-trial-") as folder:
        model.save_pretrained(f"{folder}/source")
        try:
            packed, dense = (
                _logits(Path(folder), stage, job, tokens, compress, name) for name in (job.format, "dense")
            )
        except UserError as error:
            raise UserError(f"{kind} with quantised embeddings: {error.problem}", hint=_HINT) from error
        except Exception as error:  # whatever a model's own code raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{kind} can't run with quantised embeddings ({reason[:150]})", hint=_HINT) from error
    off = float((packed - dense).norm() / dense.norm().clamp_min(1e-9))
    if not off <= TOLERANCE:
        raise UserError(
            f"{kind}: a small copy with quantised embeddings gives logits that are {off:.1%} off", hint=_HINT
        )
    if place is not None:
        remember(place)
    return None


def _logits(folder: Path, stage: RTN, job: Job, tokens: Tensor, compress: Compress, fmt: str | None) -> Tensor:
    """The logits of the small copy as it is loaded from files of this format."""
    out = folder / f"out-{fmt}"
    small = Job(
        model=folder / "source", out=out, stages=(stage,), calibration=None, format=fmt, embeddings=job.embeddings,
        check=False,
    )  # fmt: skip
    compress(small)
    logger = logging.getLogger("llmc.models")  # which tells who loads what: not of this copy
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad():
            logits: Tensor = load_model(out)(input_ids=tokens, use_cache=False).logits
    finally:
        logger.setLevel(level)
    return logits.float()
