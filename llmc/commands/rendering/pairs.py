"""NAME=VALUE options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmc.errors import UserError


def typed_pairs(texts: Iterable[str], option: str) -> dict[str, Any]:
    """The options as a mapping, with numbers, true, false and None as such by lm-eval's own rules.

    Quotes keep a text a text. A `UserError` for one without an equals sign.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UserError(f"{option} {text} is not NAME=VALUE")
        found[name] = value
    if not found:
        return {}
    from lm_eval.utils import handle_arg_string  # slow to import, and mostly there is nothing to read

    return {name: handle_arg_string(value) for name, value in found.items()}
