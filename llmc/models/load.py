"""Loads a model or a tokenizer from a local directory, safely: safetensors only, no code from the checkpoint."""

from __future__ import annotations

import logging as std_logging
from pathlib import Path
from typing import Any, get_args

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from llmc.errors import UserError, quoted, unknown
from llmc.kernels.onednn_linear import use_onednn_
from llmc.models.checkpoint import Checkpoint
from llmc.models.companion_checks import check_companions, check_generation, check_tokenizer
from llmc.models.config import decoder_config, read_config
from llmc.models.factored import factored_options
from llmc.models.fits import check_depth, check_fits
from llmc.models.folder import check_folder, check_ties
from llmc.models.heap import freed_to_the_system
from llmc.models.packed import Kernels, packed_options
from llmc.models.packed_files import NotOurs
from llmc.models.sparse import sparse_options
from llmc.models.stock_load import without_buffers
from llmc.models.third_party import said, their_code
from llmc.models.unread import extra_predictions, refuse_unread

logger = std_logging.getLogger(__name__)


def load_tokenizer(directory: str | Path) -> Any:
    """The tokenizer of a checkpoint; a `UserError` when it has none."""
    if (path := Path(directory)).is_dir():
        check_companions(path)
    try:
        with their_code(directory, "read"):
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except (UserError, ImportError) as error:
        raise UserError(
            f"{directory} has no tokenizer that transformers can load",
            hint="copy the model's tokenizer files beside it",
        ) from error
    check_tokenizer(tokenizer, path)
    return tokenizer


def load_model(
    directory: str | Path, *, dtype: torch.dtype | None = None, device: str = "cpu", kernels: Kernels = "exact"
) -> PreTrainedModel:
    """The causal language model of a checkpoint, in evaluation mode, in its stored dtype unless `dtype` is given.

    Quantised layers stay packed in memory, pruned ones without their zeros, low-rank ones two factors. `kernels` says
    how packed and pruned layers compute: "exact" unpacks each in every call and gives the dense model's outputs bit for
    bit; "fast" computes with the packed codes in bfloat16 and with sparse weights where the device has a product for
    them, and logs a warning where it hasn't; "dense" unpacks once, when loading. A quantisation that only transformers
    reads is loaded by it, with a warning that names the reason.

    Every parameter must come from the files, and every tensor of the files must have its place: a parameter that
    transformers would fill at random, or a tensor that it would pass over, is refused, because the numbers would look
    like a measurement. Layers for multi-token prediction stay unread, with a warning.
    """
    if kernels not in get_args(Kernels):
        raise unknown("kernels", kernels, get_args(Kernels))
    checkpoint = Checkpoint(directory)
    check_generation(checkpoint.directory / "generation_config.json")
    check_folder(checkpoint)
    config, raw = decoder_config(directory, dense=False), read_config(directory)
    check_fits(checkpoint, config, raw)
    try:
        with their_code(directory, "loaded by transformers"), freed_to_the_system():
            model, info, foreign = _loaded(directory, dtype, device, kernels)
    except ImportError as error:
        raise UserError(f"{directory} needs a library that is not installed: {str(error).splitlines()[0]}") from error
    if wrong := sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]):
        raise UserError(
            f"{directory}: {len(wrong)} tensors have another shape than config.json asks for, the first is {wrong[0]}",
            hint="its config.json doesn't belong to these weights",
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{directory} leaves {len(missing)} parameters without values, the first is {missing[0]}",
            hint="its weights don't belong to its config.json, or are in a format this version doesn't read",
        )
    check_ties(checkpoint, model)
    _check_unread(checkpoint, model, list(info["unexpected_keys"]), foreign=foreign)
    check_depth(checkpoint, config, raw)
    loaded: PreTrainedModel = model.to(device).eval()
    use_onednn_(loaded)
    return loaded


def _loaded(directory: str | Path, dtype: torch.dtype | None, device: str, kernels: Kernels) -> tuple[Any, Any, bool]:
    """The model, transformers' loading info, and whether its quantisation is one that transformers alone reads."""
    try:
        options = (
            factored_options(directory)
            or packed_options(directory, kernels, device)
            or sparse_options(directory, kernels, device)
        )
        return *_from_pretrained(directory, dtype, options), False
    except NotOurs as reason:
        logger.warning("transformers loads the quantised layers of %s, perhaps dense: %s", directory, reason)
        return *_from_pretrained(directory, dtype, {}), True


def _check_unread(checkpoint: Checkpoint, model: PreTrainedModel, unread: list[str], *, foreign: bool) -> None:
    """Refuses tensors that nothing read; of a `foreign` quantisation, whose scales llmc doesn't know, it tells."""
    config = read_config(checkpoint.directory)
    unread = without_buffers(model, unread)
    if not foreign:
        refuse_unread(checkpoint.directory, type(model).__name__, unread, config)
    elif unread:
        logger.warning("%d tensors of %s stay unread, the first is %s", len(unread), checkpoint.directory, unread[0])
    if extra := extra_predictions(checkpoint.tensors, config):
        logger.warning(
            "%d tensors of multi-token-prediction layers stay unread (%s and more): they are no part of this model",
            len(extra), extra[0],
        )  # fmt: skip


def _from_pretrained(directory: str | Path, dtype: torch.dtype | None, options: dict[str, Any]) -> Any:
    """transformers' (model, loading info)."""
    return AutoModelForCausalLM.from_pretrained(
        directory,
        dtype=dtype if dtype is not None else "auto",
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they come back in the loading info, by name
        **options,
    )


def pick_device(name: str) -> str:
    """The torch device called `name`; "auto" is an accelerator where there is one that has float64, else the CPU.

    Sums of log-likelihoods and the factors of Gram matrices are in float64, which Apple's GPUs haven't.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found.type if found is not None and _has_float64(found.type) else "cpu"
    try:
        torch.empty(0, device=name)
        found = torch.device(name)
    except Exception as error:  # torch has many kinds for a device that it doesn't know or that isn't there
        raise UserError(f"device {quoted(name)} can't be used: {said(error)}", hint="use cpu or auto") from error
    if found.type == "meta" or (found.type == "cpu" and found.index not in (None, 0)):
        why = "it holds no values" if found.type == "meta" else "there is none of that number"
        raise UserError(f"device {quoted(name)} can't be used: {why}", hint="use cpu or auto")
    if not _has_float64(name):
        raise UserError(f"device {quoted(name)} can't be used: it has no float64", hint="use cpu or auto")
    return "cpu" if found.type == "cpu" else name


def _has_float64(device: str) -> bool:
    try:
        torch.empty(0, device=device, dtype=torch.float64)
    except TypeError:
        return False
    return True


def quiet() -> None:
    """Turns off the bars and load reports of transformers for this process; a command shows its own progress."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
