"""TOML files of a person's settings: small and not deep."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from llmc.errors import UserError, shortened
from llmc.reading.bounded import MB, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LONGEST = MB
DEPTH = 16


def toml_document(path: Path, what: str) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it says. `what` is what the file is called where it can't be read."""
    if not path.exists():
        raise UserError(f"{what} can't be read: No such file or directory")
    text = read_text(path, at_most=LONGEST)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        said = "it is too deep" if isinstance(error, RecursionError) else shortened(str(error), 250)
        raise UserError(f"{path}: {said}", hint="see https://toml.io for the form") from None
    if _depth(data) > DEPTH:
        raise UserError(
            f"{path}: its tables and lists are more than {DEPTH} deep", hint="see https://toml.io for the form"
        )
    return text, data


def _depth(value: Any) -> int:
    layer, depth = [value], 0
    while layer := [
        inner
        for each in layer
        for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
    ]:
        depth += 1
        if depth > DEPTH:
            break
    return depth
