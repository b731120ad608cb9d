"""`tokenizer.json`: its tokens have numbers that a table can hold, or the library that reads it fills all memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmc.errors import UserError, quoted
from llmc.reading.bounded import MB, read_text
from llmc.reading.json_text import kind_of

LONGEST = 500 * MB
MOST = 2**24
"""Tokens of a vocabulary at most: the library makes a place for every number below the largest."""
HINT = "copy the model's own tokenizer.json here"


def check_tokenizer_file(path: Path) -> None:
    """Raises `UserError` for another form than a tokenizer's, and for a token whose number is none of a table's."""
    try:
        content = json.loads(read_text(path, at_most=LONGEST, hint=HINT))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read: it is not JSON ({type(error).__name__})", hint=HINT) from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise UserError(f"{path} has {kind_of(model)} where the tokenizer's model belongs", hint=HINT)
    vocabulary = model.get("vocab")
    numbers = vocabulary.values() if isinstance(vocabulary, dict) else []
    if set(map(type, numbers)) <= {int} and 0 <= min(numbers, default=0) <= max(numbers, default=0) < MOST:
        vocabulary = {}  # as always, found in a tenth of the time that a look at each takes
    for token, number in _numbered(content, vocabulary):
        if type(number) is not int or not 0 <= number < MOST:
            raise UserError(f"{path}: the token {quoted(token)} has the number {quoted(number)}", hint=HINT)


def _numbered(content: dict[str, Any], vocabulary: object) -> Iterator[tuple[object, object]]:
    if isinstance(vocabulary, dict):
        yield from vocabulary.items()
    added = content.get("added_tokens")
    for each in added if isinstance(added, list) else []:
        if isinstance(each, dict):
            yield each.get("content"), each.get("id")
