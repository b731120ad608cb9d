"""The line between llmc and other libraries' code that works on a user's files: what it raises is about those."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmc.errors import UserError, shortened
from llmc.offline import NetworkRefused

HINT = "check that its config.json, its tokenizer and its weights belong together and are whole"


@contextmanager
def their_code(directory: str | Path, doing: str, *, hint: str = HINT) -> Iterator[None]:
    """Turns whatever the code of a library raises within into a `UserError` that begins "DIRECTORY can't be `doing`".

    What says of itself whose it is passes: our own errors, missing packages, interrupts, a network that nobody allowed.
    """
    try:
        yield
    except (UserError, ImportError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":  # Rust's, of tokenizers
            raise
        if _refused(error):
            raise
        raise UserError(f"{directory} can't be {doing} ({said(error)})", hint=hint) from error


def said(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return shortened(f"{type(error).__name__}: {first}" if first else type(error).__name__, 160)


def _refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, NetworkRefused):
            return True
        error = error.__cause__ or error.__context__
    return False
