"""Foreign text made harmless: what a terminal, a log or a page would obey is shown as an escape."""

from __future__ import annotations

import json
import re

HIDDEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls: ESC and what C1 puts in its place (CSI, OSC), carriage return, bell
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u2065\u206a-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # take no room
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the reading direction
    "\u2028\u2029"  # end a line
    "\ud800-\udfff"  # halves of characters
    "\ufdd0-\ufdef\ufffe\uffff"  # no characters at all
)
"""The inside of a character class; line feed and tab are not in it."""
_IN_BLOCK, _IN_LINE = re.compile(f"[{HIDDEN}]"), re.compile(f"[{HIDDEN}\t\n]")
_IN_JSON = re.compile(f"[{HIDDEN}]".replace("\ud800-\udfff", ""))
_NOT_ASCII = re.compile(r"[^\x00-\x7f]|#(?=#\[|#vso\[)")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_COMMAND = re.compile(r"(?<!\S):(?=:)|#(?=#\[)|#(?=#vso\[)")
"""Where a pipeline's runner would take the rest of a line for a command: `::name::`, `##[name]`, `##vso[name]`."""


def line(text: object) -> str:
    """One line of a terminal or a log: no control, no new line, nothing that a pipeline's runner obeys."""
    return _COMMAND.sub(_escape, _IN_LINE.sub(_escape, str(text)))


def block(text: object) -> str:
    """Text that may have lines: all but line feeds and tabs as in `line`."""
    return _IN_BLOCK.sub(_escape, str(text))


def json_text(data: object, *, indent: int | None = None, sort_keys: bool = False, ascii_only: bool = False) -> str:
    """`data` as JSON whose text does nothing to a terminal that shows it; who reads it as JSON gets it unchanged.

    `ascii_only` is for standard output: right in every encoding, and without what a pipeline's runner obeys.
    Halves of characters, which UTF-8 can't write, become question marks.
    """
    told = json.dumps(data, indent=indent, sort_keys=sort_keys, allow_nan=False, ensure_ascii=False)
    told = _IN_JSON.sub(_json_escape, told.encode("utf-8", "replace").decode())
    return _NOT_ASCII.sub(_json_escape, told) if ascii_only else told


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match.group()) or _code(ord(match.group()))


def _code(number: int) -> str:
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _json_escape(match: re.Match[str]) -> str:
    if match.group() == "\n":  # between the values; inside them JSON has escaped it
        return "\n"
    raw = match.group().encode("utf-16-be")
    return "".join(f"\\u{raw[i]:02x}{raw[i + 1]:02x}" for i in range(0, len(raw), 2))
