"""Reads `gate.toml`. Every mistake in it is said at once, with its line, its key and the way out."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from llmc.errors import UserError, quoted
from llmc.judging.policy import Policy
from llmc.judging.toml_lines import Path as KeyPath
from llmc.judging.toml_lines import key_lines
from llmc.reading.toml_file import toml_document


@dataclass(frozen=True, kw_only=True)
class PolicyFile:
    """A policy with where it came from."""

    policy: Policy
    path: Path | None = None
    text: str = ""
    lines: dict[KeyPath, int] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Hash of the file's text, so that a report shows which policy it was judged by."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def line_of(self, section: str, index: int) -> int:
        """The line of a rule, budget or waiver; 1 for the built-in ones."""
        return self.lines.get((section, index, "id"), self.lines.get((section, index), 1))


def load_policy(path: Path | None) -> PolicyFile:
    """The policy in a file, or the built-in one without a file.

    A `UserError` lists all mistakes, one a line, as `gate.toml:3 rule "knowledge": unknown key "tolerence"; …`.
    """
    if path is None:
        return PolicyFile(policy=Policy())
    text, data = toml_document(path, f"the policy {path}")
    lines = key_lines(text)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        found = [_say(path, lines, data, one) for one in error.errors()]
        raise UserError("\n".join(dict.fromkeys(found))) from None
    return PolicyFile(policy=policy, path=path, text=text, lines=lines)


def _say(path: Path, lines: dict[KeyPath, int], data: dict[str, Any], error: ErrorDetails) -> str:
    loc = tuple(part for part in error["loc"] if not isinstance(part, str) or part != "schema_")
    line = next((lines[loc[:end]] for end in range(len(loc), 0, -1) if loc[:end] in lines), 1)
    return f"{path}:{line} {_place(loc, data)}{_reason(loc, error)}"


def _place(loc: KeyPath, data: dict[str, Any]) -> str:
    """`rule "knowledge": ` or `[stats]: `."""
    if not loc:
        return ""
    if len(loc) > 1 and isinstance(loc[1], int):
        section, index = str(loc[0]), loc[1]
        try:
            item = data[section][index]
            name = item.get("id") or item.get("rule")
        except (KeyError, IndexError, AttributeError, TypeError):
            name = None
        return f'{section} "{name}": ' if name else f"{section} {index + 1}: "
    return f"[{loc[0]}]: " if len(loc) > 1 else ""


def _reason(loc: KeyPath, error: ErrorDetails) -> str:
    key = str(loc[-1]) if loc else ""
    if error["type"] == "extra_forbidden":
        known = _keys_at(loc[:-1])
        near = difflib.get_close_matches(key, known, n=1)
        way_out = f'did you mean "{near[0]}"?' if near else f"allowed here: {', '.join(known)}"
        return f'unknown key "{key}"; {way_out}'
    if error["type"] == "missing":
        return f'"{key}" is missing'
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if key == "confidence":
        return f"confidence {quoted(error['input'])} must lie between 0.5 and 1, as 0.95"
    return f"{_dotted(loc)} = {quoted(error['input'])}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _dotted(loc: KeyPath) -> str:
    return ".".join(str(part) for part in loc if not isinstance(part, int)) or "the file"


def _keys_at(loc: KeyPath) -> list[str]:
    """The keys that the policy allows at this place."""
    form: Any = Policy
    for part in loc:
        if isinstance(part, str) and isinstance(form, type) and issubclass(form, BaseModel):
            form = _form_of(form.model_fields[part].annotation) if part in form.model_fields else None
    if not (isinstance(form, type) and issubclass(form, BaseModel)):
        return []
    return sorted(field.alias or name for name, field in form.model_fields.items())


def _form_of(annotation: Any) -> Any:
    """The model inside `list[Model]`, `Model | None` or `Model`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _form_of(inner)) is not None:
            return found
    return None
