"""llmc: compress a language model, then measure what it still knows and how far it can still be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmc.errors import UserError
from llmc.version import __version__

if TYPE_CHECKING:
    from llmc.models.load import load_model as load

__all__ = ["UserError", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """`llmc.load`, imported when it is first asked for: torch takes seconds and `llmc --help` needs none of it."""
    if name == "load":
        from llmc.models.load import load_model

        return load_model
    raise AttributeError(f"module 'llmc' has no attribute {name!r}")
