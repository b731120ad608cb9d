"""Whether transformers' own loader takes what a job reads and what it is going to write, asked with shapes alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmc.compress.format import Format, Stored
from llmc.compress.method import Compressed, Quantised
from llmc.errors import UserError
from llmc.models.checkpoint import Checkpoint, torch_dtype
from llmc.models.config import read_config
from llmc.models.folder import check_folder, check_ties
from llmc.models.layout import Matrix
from llmc.models.skeleton import Skeleton
from llmc.models.stock_load import Loading, meta_tensors, stock_load
from llmc.models.unread import extra_predictions, is_extra_prediction, refuse_unread

if TYPE_CHECKING:
    from llmc.compress.plan import Job


def packed_name(skeleton: Skeleton, fmt: Format, live: str, matrix: Matrix) -> str | None:
    """The checkpoint's name that a matrix is packed under; None for one that is stored as a plain weight."""
    kind = matrix.kind
    if fmt.name == "dense" or kind in ("conv1d", "custom"):
        return None
    if kind == "linear":
        return (skeleton.source_name(live + ".weight") or live).removesuffix(".weight")
    # No loader has a place for the bias of a packed expert.
    if fmt.name == "factors" or getattr(matrix.module, "bias", None) is not None:
        return None
    experts, number, projection = live.rsplit(".", 2)
    return skeleton.expert_name(experts, int(number), projection)


def check_source(job: Job, skeleton: Skeleton) -> Loading:
    """What the loader says of the source; a `UserError` where its config.json and its weights don't agree."""
    checkpoint, model = skeleton.checkpoint, type(skeleton.model)
    check_folder(checkpoint)
    check_ties(checkpoint, skeleton.model)
    found = stock_load(model, skeleton.config, meta_tensors(checkpoint))
    raw = read_config(job.model)
    if found.mismatched:
        raise UserError(
            f"{job.model}: {len(found.mismatched)} tensors have another shape than config.json asks for, "
            f"the first is {found.mismatched[0]}",
            hint="its config.json doesn't belong to these weights",
        )
    refuse_unread(job.model, model.__name__, found.unread, raw)
    if extra := extra_predictions(checkpoint.tensors, raw):
        job.warnings.append(
            f"{len(extra)} tensors of multi-token-prediction layers ({extra[0]} and more) are no part of a "
            f"{model.__name__}: they are copied as they stand."
        )
    return found


def check_planned(
    job: Job, fmt: Format, planned: Mapping[str, Stored], skeleton: Skeleton, before: Loading, config: dict[str, Any]
) -> None:
    """Raises `UserError` where the loader would not take the files that are planned, though it takes the source.

    `planned` is by the names of the checkpoint, `before` what the loader said of the source, `config` what config.json
    will be.
    """
    if before.error is not None or "quant_method" not in config.get("quantization_config", {}):
        return
    tensors = meta_tensors(skeleton.checkpoint)
    made: dict[tuple[Stored, torch.dtype], dict[str, Tensor]] = {}
    for layer, stored in planned.items():
        dense = tensors.pop(f"{layer}.weight")
        dtype = job.dtype or (dense.dtype if dense.is_floating_point() else torch.float32)
        if (stored, dtype) not in made:
            made[stored, dtype] = fmt.tensors("", without_values(stored, dtype))
        tensors |= {f"{layer}{part}": tensor for part, tensor in made[stored, dtype].items()}
    check_loading(fmt, skeleton, tensors, config)


def check_written(
    job: Job, fmt: Format, source: Skeleton, before: Loading, config: dict[str, Any], tables: Mapping[str, Stored]
) -> None:
    """Raises `UserError` where the loader would not take the files that were written, though it takes the source.

    `tables` are those that it isn't asked about: `config` is that of the rest.
    """
    stored_as = config.get("quantization_config")
    if before.error is None and (stored_as is None or "quant_method" in stored_as):
        tensors = meta_tensors(Checkpoint(job.out))
        for name, stored in tables.items():
            scale = tensors[f"{name}.weight_scale"]
            tensors = {n: t for n, t in tensors.items() if n.rpartition(".")[0] != name or n.endswith(".bias")}
            tensors[f"{name}.weight"] = torch.empty(stored.shape, dtype=scale.dtype, device="meta")
        check_loading(fmt, source, tensors, config)


def check_loading(fmt: Format, skeleton: Skeleton, tensors: Mapping[str, Tensor], config: dict[str, Any]) -> None:
    """Raises `UserError` unless transformers' loader gives every parameter its value from `tensors`."""
    model = type(skeleton.model)
    written = copy.deepcopy(skeleton.config)  # config.json has forms that only transformers' reader knows (infinity)
    if (stored_as := config.get("quantization_config")) is not None:
        written.quantization_config = stored_as
    found = stock_load(model, written, tensors)
    unread = tuple(name for name in found.unread if not is_extra_prediction(name, config))
    problem = replace(found, unread=unread).problem
    if problem is not None:
        raise UserError(
            f"transformers can't load a {model.__name__} from {fmt.name} files: {problem}", hint="use --format dense"
        )


def without_values(stored: Stored, dtype: torch.dtype) -> Compressed:
    """A compressed layer on the meta device, from which a format makes tensors of the right shapes."""
    rows, columns = stored.shape
    weight = torch.empty(stored.shape, dtype=dtype, device="meta")
    if stored.bits is None or stored.group_size is None:
        return Compressed(weight=weight, bits_per_weight=0.0)
    n_groups = 1 if stored.group_size == -1 else columns // stored.group_size
    grid = Quantised(
        codes=torch.empty(stored.shape, dtype=torch.uint8, device="meta"),
        scale=torch.empty((rows, n_groups), device="meta"),
        zero=torch.empty((rows, n_groups), dtype=torch.uint8, device="meta"),
        bits=stored.bits,
        group_size=stored.group_size,
        symmetric=bool(stored.symmetric),
    )
    return Compressed(weight=weight, bits_per_weight=float(stored.bits), quantised=grid)


def left_alone(skeleton: Skeleton, written: Mapping[str, object]) -> list[str]:
    """The linear layers that are not among `written`, by their names in the model and, where other, in the files.

    Layers for multi-token prediction are named too: another loader may build them.
    """
    found: dict[str, None] = {}
    for live in skeleton.linears:
        source = (skeleton.source_name(f"{live}.weight") or f"{live}.weight").removesuffix(".weight")
        if source not in written and live not in written:
            found |= {live: None, source: None}
    raw = skeleton.checkpoint.tensors
    for name in extra_predictions(raw, skeleton.raw_config):
        if name.endswith(".weight") and len(raw[name].shape) == 2 and torch_dtype(raw[name].dtype) is not None:
            found[name.removesuffix(".weight")] = None
    return list(found)
