"""Models whose linear layers stay packed in memory: how transformers is told to build them, and their filling.

transformers builds the model and reads everything that isn't packed; the packed layers are read here, one at a time.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn
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
from llmc.kernels.fast_linear import fast_linear
from llmc.kernels.onednn_linear import is_plain_linear
from llmc.kernels.packed_linear import PackedLinear
from llmc.models.checkpoint import Checkpoint
from llmc.models.config import read_config
from llmc.models.packed_files import PARTS, NotOurs, PackedFiles, packed_files
from llmc.models.packed_tables import (
    Table,
    dense_embedding_,
    empty_,
    forget_ties_,
    located,
    packed_embedding,
    packed_head,
    packed_table,
    tables,
)
from llmc.ops.codes import Codes

logger = logging.getLogger(__name__)

Kernels = Literal["exact", "fast", "dense"]
"""How packed layers compute. exact: unpacked one at a time in every call, for the dequantised or pruned model's outputs
bit for bit. fast: with the packed codes or the sparse weights where the device has a product for them, codes rounded to
bfloat16. dense: unpacked once, when loaded."""
METHOD = "llmc-packed"


class AwaitingCodes(nn.Module):
    """Stands where a packed layer will be, while transformers reads the rest: it has the bias and no weight to fill.

    `weight` is there, without values, for the models whose own code gives a layer's weight its first values.
    """

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.shape = (like.out_features, like.in_features)
        self.dtype = like.weight.dtype
        self.weight = like.weight.detach().to("meta")
        self.bias = like.bias

    def filled(self, weight: torch.Tensor) -> nn.Linear:
        """The plain layer with this weight (out, in), which is not copied."""
        rows, columns = self.shape
        linear = nn.Linear(columns, rows, bias=False, device="meta")
        linear.weight = nn.Parameter(weight, requires_grad=False)
        linear.bias = self.bias
        return linear


def packed_options(directory: str | Path, kernels: Kernels, device: str) -> dict[str, Any]:
    """What `from_pretrained` needs besides for a checkpoint of packed layers; {} for one without quantisation.

    Raises `NotOurs` for a quantisation that only transformers can read. Makes the loader known to transformers, under
    a name of our own, the first time that it is needed.
    """
    quantization = read_config(directory).get("quantization_config")
    if not quantization or "quant_method" not in quantization:
        return {}
    packed_files(Checkpoint(directory), quantization)
    told = {"directory": str(directory), "kernels": kernels, "device": device, "stored": quantization}
    return loader_options(directory, METHOD, _CodesLoader, told)


def loader_options(
    directory: str | Path, method: str, loader: type[AwaitingLoader], told: dict[str, Any]
) -> dict[str, Any]:
    """What makes `from_pretrained` use `loader`, known to transformers as `method`, and gives it `told`."""
    if method not in AUTO_QUANTIZER_MAPPING:
        register_quantizer(method)(loader)
    if method not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        register_quantization_config(method)(_LoaderConfig)
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    config.quantization_config = {"quant_method": method, "llmc": told}
    return {"config": config}


class _LoaderConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """What a loader must know, as transformers carries it there."""

    def __init__(self, **values: Any) -> None:
        self.quant_method = values["quant_method"]
        self.llmc = dict(values["llmc"])


class AwaitingLoader(HfQuantizer, ABC):  # type: ignore[misc]
    """Takes some layers' weights out of the empty model, and puts other modules in when the rest is there, one by one.

    `places` is where each layer of the files stands in the model.
    """

    requires_calibration = True

    def __init__(self, quantization_config: Any, **kwargs: Any) -> None:
        super().__init__(quantization_config, **kwargs)
        told = quantization_config.llmc
        self.kernels: Kernels = told["kernels"]
        self.device = torch.device(told["device"])
        self.why_not: Counter[str] = Counter()
        """How many layers have no fast product, by the reason."""
        self.places: dict[str, str] = {}
        self.open(Checkpoint(told["directory"]), told)

    @abstractmethod
    def open(self, checkpoint: Checkpoint, told: dict[str, Any]) -> None:
        """Finds the layers in the files."""

    @abstractmethod
    def find(self, model: PreTrainedModel) -> dict[str, str]:
        """The places of the layers that are read here."""

    @abstractmethod
    def tensors(self, layer: str, place: str) -> set[str]:
        """Patterns of the names of the tensors that are read here, which transformers is to leave alone."""

    @abstractmethod
    def made(self, layer: str, awaiting: AwaitingCodes) -> nn.Module:
        """The module of one layer, read now."""

    @abstractmethod
    def say(self) -> None:
        """Logs what was done."""

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        self.places = self.find(model)
        ours: set[str] = set()
        for layer, place in self.places.items():
            like = model.get_submodule(place)
            assert isinstance(like, nn.Linear)
            model.set_submodule(place, AwaitingCodes(like))
            ours |= self.tensors(layer, place)
        # What is read here is nothing unexpected to transformers' report.
        model._keys_to_ignore_on_load_unexpected = (model._keys_to_ignore_on_load_unexpected or set()) | ours

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        for layer, place in self.places.items():
            awaiting = model.get_submodule(place)
            assert isinstance(awaiting, AwaitingCodes)
            model.set_submodule(place, self.made(layer, awaiting))
        self.say()

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _CodesLoader(AwaitingLoader):
    """Layers stored as codes, and tables: embeddings and heads, which may be tied."""

    files: PackedFiles
    tables: dict[str, Table]

    def open(self, checkpoint: Checkpoint, told: dict[str, Any]) -> None:
        self.files = packed_files(checkpoint, told["stored"])
        self.tables = {}

    def find(self, model: PreTrainedModel) -> dict[str, str]:
        self.tables = tables(model, list(self.files.reads))
        found, refused = places(model, [layer for layer in self.files.reads if layer not in self.tables])
        if refused:
            raise NotOurs(refused[0])
        return found

    def tensors(self, layer: str, place: str) -> set[str]:
        return {rf"\.{part}$" for part in PARTS}

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        super()._process_model_before_weight_loading(model, **kwargs)
        for layer, table in self.tables.items():
            forget_ties_(model, table)
            for head in table.heads:
                model.set_submodule(head, AwaitingCodes(cast(nn.Linear, model.get_submodule(head))))
            if table.embedding is not None:
                empty_(cast(nn.Embedding, model.get_submodule(table.embedding)))
            ignored = model._keys_to_ignore_on_load_unexpected or set()
            model._keys_to_ignore_on_load_unexpected = ignored | self.tensors(layer, layer)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **kwargs: Any) -> None:
        for layer, table in self.tables.items():
            self._fill(model, layer, table)
        super()._process_model_after_weight_loading(model, **kwargs)

    def _fill(self, model: PreTrainedModel, layer: str, table: Table) -> None:
        """Puts the codes of one table into every module that it is in."""
        heads = {name: cast(AwaitingCodes, model.get_submodule(name)) for name in table.heads}
        like = None if table.embedding is None else cast(nn.Embedding, model.get_submodule(table.embedding))
        modules = [*heads.values(), *([] if like is None else [like])]
        codes = self._codes(layer, cast(torch.Tensor, modules[0].weight).shape)
        dtype = cast(torch.Tensor, modules[0].weight).dtype
        if self.kernels == "dense":
            weight = nn.Parameter(codes.dequantised(dtype), requires_grad=False)
            for name, awaiting in heads.items():
                linear = awaiting.filled(weight)
                linear.weight = weight  # the same, where it is tied
                model.set_submodule(name, linear)
            if like is not None:
                dense_embedding_(like, weight)
            return
        packed = packed_table(codes, dtype)
        if like is not None:
            model.set_submodule(table.places[0], packed_embedding(packed, like, table.places[0]))
        for name, awaiting in heads.items():
            head: nn.Module = packed_head(packed, awaiting.bias, tied=like is not None)
            if self.kernels == "fast":
                made = _made(codes, awaiting, self.kernels, self.device, self.why_not)
                if not isinstance(made, PackedLinear):
                    head, packed.is_copy = made, True
                    head.weight = packed.weight
            model.set_submodule(name, head)

    def _codes(self, layer: str, shape: tuple[int, ...]) -> Codes:
        codes = self.files.codes(layer)
        if codes.codes.shape != shape:
            raise UserError(
                f"{layer} has codes for {tuple(codes.codes.shape)} weights where the model has {tuple(shape)}",
                hint="its weights don't belong to its config.json",
            )
        return codes

    def made(self, layer: str, awaiting: AwaitingCodes) -> nn.Module:
        return _made(self._codes(layer, awaiting.shape), awaiting, self.kernels, self.device, self.why_not)

    def say(self) -> None:
        _say(self.kernels, len(self.places) + len(self.tables), self.why_not)


def places(model: PreTrainedModel, layers: list[str]) -> tuple[dict[str, str], list[str]]:
    """Where in the model each layer of the files stands, and why some are no plain linear layers there, as clauses."""
    found, refused = located(model, layers)
    plain = {layer: place for layer, place in found.items() if is_plain_linear(model.get_submodule(place))}
    others = [f"{layer} is no plain linear layer of a {type(model).__name__}" for layer in found if layer not in plain]
    return plain, [*refused, *others]


def _made(
    codes: Codes, awaiting: AwaitingCodes, kernels: Kernels, device: torch.device, why_not: Counter[str]
) -> nn.Module:
    if kernels == "dense":
        return awaiting.filled(codes.dequantised(awaiting.dtype))
    if kernels == "fast":
        made = fast_linear(codes, awaiting.bias, device)
        if isinstance(made, nn.Module):
            return made
        why_not[made] += 1
    return PackedLinear(codes, awaiting.bias)


def _say(kernels: Kernels, n_layers: int, why_not: Counter[str]) -> None:
    if kernels == "exact":
        logger.info("%d matrices stay packed; each is unpacked in every call (kernels=fast computes packed)", n_layers)
    for reason, n in why_not.items():
        logger.warning("%d of %d packed matrices are unpacked in every call: %s", n, n_layers, reason)
