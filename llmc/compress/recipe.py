"""From what a person writes (`--set NAME=VALUE`, a YAML file) to methods with checked settings."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from llmc.catalog import catalog, pick
from llmc.compress.method import Method
from llmc.compress.tables import check_wanted
from llmc.errors import UserError, quoted, unknown
from llmc.reading.yaml_file import yaml_document

MOST_STAGES = 16
_FINITE = ConfigDict(allow_inf_nan=False)


def methods() -> Mapping[str, type[Method]]:
    """Every compression method by name."""
    return catalog("llmc.compress.methods", "METHOD")


def settings_of(method: type[Method]) -> dict[str, dataclasses.Field[Any]]:
    """The settings of a method by name: the fields of its dataclass."""
    return {field.name: field for field in dataclasses.fields(typing.cast(Any, method))}


def build(name: str, settings: Mapping[str, object]) -> Method:
    """The method called `name` with `settings`, whose values may be text as typed on a command line.

    Raises `UserError` for an unknown method or setting, a value of the wrong type, or one out of range.
    """
    kind = pick(methods(), name, "compression method")
    fields = settings_of(kind)
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in settings.items():
        if key not in fields:
            raise unknown(f"setting of {name}", key, fields)
        plain = None if isinstance(value, str) and value.lower() in {"none", "null"} else value
        try:
            values[key] = TypeAdapter(hints[key], config=_FINITE).validate_python(plain)
        except ValidationError as error:
            wanted = str(hints[key]).replace("<class '", "").replace("'>", "")
            raise UserError(
                f"{name}: {key}={quoted(value)} is not of type {wanted}",
                hint=f"`llmc methods {name}` shows its settings",
            ) from error
    return kind(**values)


def as_stage(method: Method) -> dict[str, Any]:
    """The method and all its settings as plain data, the form in which a recipe and the manifest hold it."""
    return {"method": method.name, **{key: getattr(method, key) for key in settings_of(type(method))}}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a recipe file asks for."""

    stages: tuple[Method, ...]
    embeddings: int | None = None
    """Bits of the token embedding and the head; None leaves them as they are."""

    def __post_init__(self) -> None:
        check_wanted(self.embeddings, self.stages)


def read_recipe(path: Path) -> Recipe:
    """A recipe file: `stages:`, a list of mappings that each name a `method:` and its settings, and `embeddings:`."""
    document = yaml_document(path, f"recipe {path}")
    example = "write `stages:` and below it `- method: wanda` with its settings"
    if not isinstance(document, dict) or not isinstance(document.get("stages"), list) or not document["stages"]:
        raise UserError(f"recipe {path} has no list of stages", hint=example)
    if extra := sorted(set(document) - {"stages", "embeddings"}):
        raise UserError(
            f"recipe {path} has the unknown key {quoted(extra[0])}", hint="the keys are `stages` and `embeddings`"
        )
    if len(document["stages"]) > MOST_STAGES:
        raise UserError(f"recipe {path} has more than {MOST_STAGES} stages", hint="two or three are usual")
    embeddings = document.get("embeddings")
    if embeddings is not None and type(embeddings) is not int:
        told = f"recipe {path}: embeddings is {quoted(embeddings)}"
        raise UserError(told, hint="write `embeddings: 8` or `embeddings: 4`")
    found = []
    for number, stage in enumerate(document["stages"], 1):
        if not isinstance(stage, dict) or not isinstance(stage.get("method"), str):
            raise UserError(f"recipe {path}: stage {number} names no method", hint=example)
        found.append(build(stage["method"], {key: value for key, value in stage.items() if key != "method"}))
    return Recipe(tuple(found), embeddings)
