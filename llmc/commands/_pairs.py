"""NAME=VALUE options."""

from __future__ import annotations

from collections.abc import Iterable

from llmc.errors import UserError


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """The options as a mapping; a `UserError` for one without an equals sign."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"{option} {text} is not NAME=VALUE")
        found[name] = value
    return found
