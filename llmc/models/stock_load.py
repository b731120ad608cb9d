"""What transformers' own loader makes of a checkpoint, asked on the meta device with names and shapes alone."""

from __future__ import annotations

import contextlib
import copy
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.quantizers.quantizers_utils import get_module_from_name, should_convert_module
from transformers.utils import logging
from transformers.utils.quantization_config import QuantizationConfigMixin

from llmc.models.checkpoint import Checkpoint, torch_dtype

METHOD = "llmc-stand-in"
STAND_INS = ("gptq", "awq")
"""Methods whose readers need a library that computes: only what they do to the empty model is done here."""
VALUES = "weight_shape"
"""A tensor that loaders read while they build the model, so that it must have its values."""


@dataclass(frozen=True)
class Loading:
    """What the loader would say: empty everywhere for a checkpoint that gives every parameter its value."""

    missing: tuple[str, ...] = ()
    """Parameters that no tensor fills: they would be random."""
    unread: tuple[str, ...] = ()
    """Tensors that fill nothing and that the model's class doesn't declare harmless."""
    mismatched: tuple[str, ...] = ()
    """Parameters whose tensor has another shape."""
    error: str | None = None
    """What the loader raises instead of loading."""

    @property
    def problem(self) -> str | None:
        """The first thing that is wrong, as a clause; None where nothing is."""
        if self.error is not None:
            return f"its loader raises {self.error}"
        kinds = (
            (self.mismatched, "parameters would get a tensor of another shape"),
            (self.missing, "parameters would be random"),
            (self.unread, "tensors would be passed over"),
        )
        return next((f"{len(n)} {what}, the first is {n[0]}" for n, what in kinds if n), None)


def meta_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by name, without its values (but for a packed layer's shape: two numbers)."""
    shapes = [name for name in checkpoint.tensors if name.endswith(f".{VALUES}")]
    found = {
        name: torch.empty(info.shape, dtype=torch_dtype(info.dtype) or torch.uint8, device="meta")
        for name, info in checkpoint.tensors.items()
    }
    return found | checkpoint.read(shapes)


def stock_load(model: type[PreTrainedModel], config: PretrainedConfig, tensors: Mapping[str, Tensor]) -> Loading:
    """What `model.from_pretrained` would say of these tensors under this config, its quantization_config included.

    Nothing is read or held: `tensors` are on the meta device (see `meta_tensors`). Where the library that reads a
    quantisation is not installed, an empty `Loading`: nothing is known.
    """
    found = copy.deepcopy(config)
    quantization = getattr(config, "quantization_config", None)
    if quantization and quantization.get("quant_method") in STAND_INS:
        _register()
        found.quantization_config = {"quant_method": METHOD, "stored": dict(quantization)}
    elif quantization and any(name.endswith(".weight_zero_point") for name in tensors):
        # Read so or not at all, as formats/compressed_tensors.py warns: the zero points have another shape packed.
        found.quantization_config = {**quantization, "dequantize": True}
    try:
        with _silently(), contextlib.redirect_stderr(io.StringIO()) if quantization else contextlib.nullcontext():
            made, info = model.from_pretrained(
                None,
                config=found,
                state_dict=dict(tensors),
                device_map={"": "meta"},
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except ImportError:
        return Loading()
    except Exception as error:  # whatever a model's own code raises is what a person would meet
        return Loading(error=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:160]}")
    return Loading(
        missing=tuple(sorted(info["missing_keys"])),
        unread=tuple(sorted(without_buffers(made, info["unexpected_keys"]))),
        mismatched=tuple(sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])),
    )


def without_buffers(model: nn.Module, unread: Iterable[str]) -> list[str]:
    """`unread` without the tensors that the model makes itself: masks and tables that older files still hold."""
    made = {name for name, _ in model.named_buffers()}
    prefix = getattr(model, "base_model_prefix", "")
    return [name for name in unread if name not in made and f"{prefix}.{name}" not in made]


@contextlib.contextmanager
def _silently() -> Iterator[None]:
    """Without the loaders' bars and reports, which belong to no model that anybody gets."""
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    noisy = _loguru()
    if noisy is not None:
        noisy.disable("compressed_tensors")
    try:
        yield
    finally:
        if noisy is not None:
            noisy.enable("compressed_tensors")
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _loguru() -> Any | None:
    """The logger that compressed-tensors writes to, if it is there."""
    try:
        from loguru import logger
    except ImportError:
        return None
    return logger


def _register() -> None:
    if METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantizer(METHOD)(_StandInLoader)
    if METHOD not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        register_quantization_config(METHOD)(_StandInConfig)


class _StandInConfig(QuantizationConfigMixin):  # type: ignore[misc]
    def __init__(self, **values: Any) -> None:
        self.quant_method = METHOD
        self.stored = dict(values["stored"])


class _StandInLoader(HfQuantizer):  # type: ignore[misc]
    """Puts layers without a weight where optimum (gptq) and transformers (awq) put theirs, by their rules."""

    requires_calibration = True

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        stored = self.quantization_config.stored
        if stored["quant_method"] == "gptq":
            names = _by_optimum(model, stored)
        else:
            skipped = self.get_modules_to_not_convert(
                model, stored.get("modules_to_not_convert"), model._keep_in_fp32_modules, add_default_skips=True
            )
            linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)]
            names = [name for name in linear if should_convert_module(name, skipped)]
        for name in names:
            module, _ = get_module_from_name(model, f"{name}.weight")
            model.set_submodule(name, _StandIn(module, stored))

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


BLOCKS = ("transformer.h", "model.decoder.layers", "gpt_neox.layers", "model.layers")
"""Where optimum looks for blocks unless the config names them."""


def _by_optimum(model: nn.Module, stored: Mapping[str, Any]) -> list[str]:
    """The layers that optimum's GPTQ reader replaces."""
    names = {name for name, _ in model.named_modules()}
    block = stored.get("block_name_to_quantize") or next((b for b in BLOCKS if b in names), None)
    if block is None:
        raise ValueError("Block pattern could not be match. Pass `block_name_to_quantize` argument in `quantize_model`")
    wanted: Sequence[str] | None = None
    if (listed := stored.get("modules_in_block_to_quantize")) is not None:
        wanted = [layer for group in listed for layer in group]
    inside = re.compile(rf"{re.escape(block)}\.")
    linear = [n for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and inside.match(n)]
    return [name for name in linear if wanted is None or any(name.endswith(layer) for layer in wanted)]


class _StandIn(nn.Module):
    """The tensors of a packed layer as gptqmodel registers them, and no weight."""

    def __init__(self, like: nn.Module, stored: Mapping[str, Any]) -> None:
        super().__init__()
        weight = cast(Tensor, like.weight)
        rows, columns = reversed(weight.shape) if isinstance(like, Conv1D) else weight.shape
        bits = int(stored["bits"])
        size = columns if stored["group_size"] == -1 else int(stored["group_size"])
        awq = stored["quant_method"] == "awq"
        shapes: dict[str, tuple[int, ...]] = {
            "qweight": (columns, rows * bits // 32) if awq else (columns * bits // 32, rows),
            "qzeros": (columns // size, rows * bits // 32),
            "scales": (columns // size, rows),
        }
        shapes |= {} if awq else {"g_idx": (columns,)}
        for name, shape in shapes.items():
            dtype = torch.float16 if name == "scales" else torch.int32
            self.register_buffer(name, torch.zeros(shape, dtype=dtype, device="meta"))
        self.bias = getattr(like, "bias", None)
