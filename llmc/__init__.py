"""llmc: compress a language model, then measure what it still knows and how far it can still be trusted."""

from llmc._version import __version__
from llmc.errors import UserError

__all__ = ["UserError", "__version__"]
