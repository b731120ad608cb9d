"""JSON as everybody reads it alike: no names twice, no NaN, no endless numbers or depths, no halves of characters."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from llmc.errors import UserError, quoted
from llmc.reading.bounded import MB, read_bytes

DEPTH = 64
"""Lists and objects inside each other at most: whoever walks a value later must not run out of stack."""
DIGITS = 20
"""Digits of a whole number at most, those of 2**64."""
_HALF = re.compile(r"\\u[dD][89abAB]|\\u[dD][cdefCDEF]")


class Malformed(ValueError):
    """Why a text is no value that is read here, as a clause."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise Malformed(f"the name {quoted(twice)} comes twice")
    return found


def _whole(text: str) -> int:
    if len(text) > DIGITS + 1:
        raise Malformed(f"a number has {len(text.lstrip('-'))} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Malformed(f"{quoted(text)} is larger than any number")
    return value


def _constant(name: str) -> float:
    raise Malformed(f"{name} is no number that JSON knows")


def _infinite(name: str) -> float:
    """transformers writes Infinity into config.json, where some models have it; NaN is never meant."""
    return _constant(name) if name == "NaN" else float(name.replace("Infinity", "inf"))


def _decoder(constant: Callable[[str], float], whole: Callable[[str], int]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_pairs, parse_int=whole, parse_float=_float, parse_constant=constant)


_STRICT = _decoder(_constant, _whole)
_LENIENT = _decoder(_infinite, int)


def json_value(text: str, *, lenient: bool = False, halves: bool = False) -> Any:
    """The value of a JSON text; `Malformed` says why it has none.

    `lenient`: infinity and whole numbers of any size too, as the files of transformers have them. `halves`: texts may
    hold lone surrogates, for readers who replace them where they show a text.
    """
    try:
        value = (_LENIENT if lenient else _STRICT).decode(text)
    except RecursionError:
        raise Malformed(f"its lists and objects are more than {DEPTH} deep") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if "\n" in text.rstrip() else f"column {error.colno}"
        raise Malformed(f"{error.msg.lower()} at {where}") from None
    except Malformed:
        raise
    except ValueError as error:  # a number of more digits than Python converts
        raise Malformed(str(error).split(";")[0].lower()) from None
    if text.count("[") + text.count("{") > DEPTH:
        _check_depth(value)
    if not halves and "\\u" in text and _HALF.search(text):
        _check_characters(value)
    return value


def json_object(
    path: Path, *, at_most: int = 100 * MB, hint: str | None = None, lenient: bool = False
) -> dict[str, Any]:
    """The JSON object in a file of at most that many bytes. Raises `UserError` for anything else."""
    try:
        value = json_value(read_bytes(path, at_most=at_most, hint=hint).decode("utf-8"), lenient=lenient)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", hint=hint) from None
    except Malformed as error:
        raise UserError(f"{path} can't be read: it is not JSON ({error})", hint=hint) from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object but {kind_of(value)}", hint=hint)
    return value


def kind_of(value: Any) -> str:
    """What kind of JSON value this is, with its article."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return kinds.get(type(value), "a number")


def _check_depth(value: Any) -> None:
    layer: list[Any] = [value]
    for _ in range(DEPTH + 1):
        layer = [inner for each in layer for inner in _inside(each)]
        if not layer:
            return
    raise Malformed(f"its lists and objects are more than {DEPTH} deep")


def _inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Malformed("a text holds half of a character (a lone surrogate)") from None
