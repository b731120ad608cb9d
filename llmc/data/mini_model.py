"""Where the model inside the package is."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from llmc.errors import UserError


def mini_model_path() -> Path:
    """The directory of the embedded model; a `UserError` if this installation lacks it."""
    path = Path(str(files("llmc.data") / "mini"))
    if not (path / "config.json").is_file():
        raise UserError("this installation of llmc has no embedded model", hint="install llmc from its wheel again")
    return path
