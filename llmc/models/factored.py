"""Models whose linear layers are stored as two thin matrices: how transformers is told to build them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import (
    AUTO_QUANTIZATION_CONFIG_MAPPING,
    AUTO_QUANTIZER_MAPPING,
    register_quantization_config,
    register_quantizer,
)
from transformers.utils.quantization_config import QuantizationConfigMixin

from llmc.errors import UserError
from llmc.models.config import read_config
from llmc.ops.product import linear
from llmc.reading.quantization import RANKS

METHOD = "llmc-factors"


class FactoredLinear(nn.Module):
    """left (right x) + bias: a linear layer through `rank` numbers.

    Shapes: right (rank, in), left (out, rank), bias (out,) or None.
    """

    def __init__(self, like: nn.Linear, rank: int) -> None:
        super().__init__()
        kind: dict[str, Any] = {"dtype": like.weight.dtype, "device": like.weight.device}
        self.left = nn.Parameter(torch.empty(like.out_features, rank, **kind), requires_grad=False)
        self.right = nn.Parameter(torch.empty(rank, like.in_features, **kind), requires_grad=False)
        self.bias = like.bias

    @property
    def weight(self) -> Tensor:
        """A weight without values, for the models whose own code gives a layer's weight its first values."""
        return self.left.new_empty((len(self.left), self.right.shape[1]), device="meta")

    def forward(self, x: Tensor) -> Tensor:
        return linear(linear(x, self.right), self.left, self.bias)


def factored_options(directory: str | Path) -> dict[str, Any]:
    """What `from_pretrained` needs besides for a checkpoint stored as factors; {} for any other.

    Makes the loader known to transformers, under a name of our own, the first time that it is needed.
    """
    quantization = read_config(directory).get("quantization_config") or {}
    if RANKS not in quantization:
        return {}
    if METHOD not in AUTO_QUANTIZER_MAPPING:
        register_quantizer(METHOD)(_FactorsLoader)
    if METHOD not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        register_quantization_config(METHOD)(_FactorsConfig)
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    config.quantization_config = {**quantization, "quant_method": METHOD}
    return {"config": config}


def insert_factors(model: nn.Module, ranks: dict[str, int]) -> None:
    """Puts a `FactoredLinear` of the given rank in the place of each named linear layer, without values."""
    prefix = getattr(model, "base_model_prefix", "")
    modules = dict(model.named_modules())
    for layer, rank in ranks.items():
        names = (layer, f"{prefix}.{layer}", layer.removeprefix(f"{prefix}."))
        found = next((name for name in names if isinstance(modules.get(name), nn.Linear)), None)
        if found is None:
            raise UserError(
                f"config.json calls {layer} a pair of factors and the model has no such linear layer",
                hint="were config.json and the weights written together?",
            )
        like = modules[found]
        assert isinstance(like, nn.Linear)
        model.set_submodule(found, FactoredLinear(like, rank))


class _FactorsConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """The ranks, as transformers carries them from config.json to the loader."""

    def __init__(self, **values: Any) -> None:
        self.quant_method = METHOD
        setattr(self, RANKS, dict(values[RANKS]))


class _FactorsLoader(HfQuantizer):  # type: ignore[misc]
    """Changes the empty model before its weights are read; the weights then load by name."""

    requires_calibration = True

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        insert_factors(model, getattr(self.quantization_config, RANKS))

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False
