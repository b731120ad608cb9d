"""A model's folder agrees with itself: one set of weights, in the dtype and with the ties that config.json tells of."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from llmc.errors import UserError
from llmc.models.checkpoint import INDEX, SINGLE, Checkpoint, torch_dtype
from llmc.models.config import read_config


def check_folder(checkpoint: Checkpoint) -> None:
    """Raises `UserError` for a folder that says two things, so that two loaders would make two models of it."""
    directory = checkpoint.directory
    if (directory / INDEX).exists() and (directory / SINGLE).exists() and directory / SINGLE not in checkpoint.shards:
        raise UserError(
            f"{directory} holds two sets of weights: {SINGLE}, and the shards that {INDEX} names",
            hint="keep one of them: transformers would read the first",
        )
    if (directory / "adapter_config.json").exists():
        raise UserError(
            f"{directory} holds an adapter beside the model, which some loaders would add to it",
            hint="merge the adapter into the weights, or move it away",
        )
    _check_dtype(checkpoint)
    _check_floats(checkpoint)


def _check_floats(checkpoint: Checkpoint) -> None:
    """Weights and factors are floating-point numbers, but where a quantisation stores codes."""
    if "quant_method" in (read_config(checkpoint.directory).get("quantization_config") or {}):
        return
    for name, info in checkpoint.tensors.items():
        if name.endswith((".weight", ".left", ".right")) and not info.dtype.startswith(("F", "BF")):
            raise UserError(
                f"{checkpoint.directory}: {name} is stored as {info.dtype}, and no floating-point number",
                hint="is a quantization_config missing in config.json? Else download the checkpoint again",
            )


def _check_dtype(checkpoint: Checkpoint) -> None:
    """The dtype of config.json is that of some matrix: else loaders would convert every weight."""
    config = read_config(checkpoint.directory)
    places = [config, config.get("text_config") or {}]
    said = next((c[key] for c in places for key in ("dtype", "torch_dtype") if c.get(key)), None)
    wanted = getattr(torch, said.removeprefix("torch."), None) if isinstance(said, str) else None
    found = [torch_dtype(info.dtype) for info in checkpoint.tensors.values() if info.n_bytes]
    floats = {dtype for dtype in found if dtype is not None and dtype.is_floating_point}
    if isinstance(wanted, torch.dtype) and floats and wanted not in floats:
        stored = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in floats))
        raise UserError(
            f"{checkpoint.directory}: config.json says {said} and the weights are {stored}",
            hint=f"write into config.json what is meant, such as {stored.split()[0]}: loaders convert to what it says",
        )


def check_ties(checkpoint: Checkpoint, model: PreTrainedModel) -> None:
    """Raises `UserError` for a tied weight that is stored twice with unlike values."""
    # Asked anew: transformers forgets a tie when it loads two unlike tensors.
    tied: dict[str, str] = model.get_expanded_tied_weights_keys(all_submodels=True)
    for one, other in tied.items():
        if one not in checkpoint.tensors or other not in checkpoint.tensors:
            continue
        pair = checkpoint.read([one, other])
        if not torch.equal(pair[one], pair[other]):
            raise UserError(
                f"{checkpoint.directory}: config.json ties {one} to {other}, and the two are stored with unlike values",
                hint="set tie_word_embeddings to false in config.json, or take one of the two out",
            )


def companions(directory: Path) -> list[Path]:
    """The files beside the weights that loaders and people need: tokenizer, templates, processors, settings, licence.

    Relative to `directory`. Found by kind and not by a list of names; nothing that can be run (code, pickles), no
    weights, and no README, which speaks of the model before.
    """
    inside = [*directory.iterdir(), *(directory / "additional_chat_templates").glob("*.jinja")]
    return sorted(path.relative_to(directory) for path in inside if path.is_file() and _is_companion(path))


def _is_companion(path: Path) -> bool:
    name = path.name.lower()
    if name.startswith(".") or name in _OTHERS or name.endswith((".index.json", "_results.json")):
        return False
    return path.suffix.lower() in _READ or name.startswith(_LEGAL)


_READ = frozenset({".json", ".jinja", ".txt", ".model", ".tiktoken", ".spm", ".bpe", ".vocab"})
_LEGAL = ("licen", "notice", "copying", "copyright", "use_policy")
_OTHERS = frozenset(
    {"config.json", "llmc_manifest.json", "adapter_config.json", "quantize_config.json", "trainer_state.json"}
)
