"""Loads a model or a tokenizer from a local directory, safely: safetensors only, no code from the checkpoint."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint
from llmc.models.config import decoder_config
from llmc.models.factored import factored_options


def load_tokenizer(directory: str | Path) -> Any:
    """The tokenizer of a checkpoint; a `UserError` when it has none."""
    try:
        return AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a tokenizer that isn't there
        raise UserError(
            f"{directory} has no tokenizer that transformers can load",
            hint="copy the model's tokenizer files beside it",
        ) from error


def load_model(directory: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu") -> PreTrainedModel:
    """The causal language model of a checkpoint, in evaluation mode, in its stored dtype unless `dtype` is given.

    Every parameter must come from the files: a model with a parameter that transformers would fill at random is
    refused, because its numbers would look like a measurement.
    """
    Checkpoint(directory)
    decoder_config(directory, dense=False)
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype if dtype is not None else "auto",
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **factored_options(directory),
        )
    except ImportError as error:
        raise UserError(f"{directory} needs a library that is not installed: {str(error).splitlines()[0]}") from error
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:
        raise UserError(
            f"{directory} leaves {len(missing)} parameters without values, the first is {missing[0]}",
            hint="its weights don't belong to its config.json, or are in a format this version doesn't read",
        )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def pick_device(name: str) -> str:
    """The torch device called `name`; "auto" is an accelerator where there is one, else the CPU."""
    if name == "auto":
        return torch.accelerator.current_accelerator().type if torch.accelerator.is_available() else "cpu"  # type: ignore[union-attr]
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {name!r} can't be used: {str(error).splitlines()[0]}", hint="use cpu or auto"
        ) from error
    return name


def quiet() -> None:
    """Turns off the bars and load reports of transformers for this process; a command shows its own progress."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def offline() -> None:
    """Keeps the hub library from the network for this process; a command calls it unless its user asked for a fetch."""
    os.environ["HF_HUB_OFFLINE"] = "1"
