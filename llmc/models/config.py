"""The configuration of a decoder, or one sentence that says why this model isn't one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from llmc.errors import UserError
from llmc.reading.model_config import model_config


def read_config(directory: str | Path) -> dict[str, Any]:
    """config.json as it stands; a `UserError` when it is missing, or has values that no decoder has."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise UserError(f"{directory} holds no config.json", hint="give the folder of a transformers checkpoint")
    return model_config(path)


def decoder_config(directory: str | Path, *, dense: bool = True) -> PretrainedConfig:
    """The configuration of a causal language model that transformers has its own code for.

    With `dense`, a checkpoint that is quantised already is refused: its weights are codes, not numbers.
    """
    raw = read_config(directory)
    found = f"{directory} is a {'/'.join(raw.get('architectures') or []) or raw.get('model_type', 'model')}"
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # the library raises many kinds for one cause: it doesn't know this model
        remote = " that brings its own code" if "auto_map" in raw else ""
        raise UserError(
            f"{found}{remote}, which this transformers can't read ({_first_line(error)})",
            hint="llmc handles decoders that transformers itself has code for",
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"{found}, not a decoder", hint="llmc handles what transformers calls a causal language model")
    if dense and (stored := raw.get("quantization_config")):
        method = stored.get("quant_method", "low-rank factors")
        raise UserError(f"{directory} is compressed already ({method})", hint="start from the dense checkpoint")
    return config


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
