"""From what a person calls a model to its directory."""

from __future__ import annotations

from pathlib import Path

from llmc.data.mini_model import mini_model_path
from llmc.errors import UserError

EMBEDDED = "mini"
"""The name that stands for the model inside the package."""


def resolve(model: str) -> Path:
    """The directory of `model`: the embedded one for "mini", else a local path, else the hub's local cache.

    Never touches the network. Raises `UserError` when nothing of that name is on this machine.
    """
    if model == EMBEDDED:
        return mini_model_path()
    path = Path(model)
    if path.exists():
        if (path / ".llmc" / "parts").is_dir() and not (path / "config.json").exists():
            raise UserError(f"{model} is an unfinished compression", hint="run its `llmc compress` again with --resume")
        return path
    if model.count("/") == 1 and not model.startswith((".", "/", "~")):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(snapshot_download(model, local_files_only=True))
        except (LocalEntryNotFoundError, ValueError, OSError) as error:
            raise UserError(
                f"{model} is neither a directory nor in the local hub cache", hint=f"run `hf download {model}` first"
            ) from error
    raise UserError(f"model {model} does not exist", hint="give a directory, a downloaded hub name, or 'mini'")
