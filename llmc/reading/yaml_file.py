"""YAML files of a person's settings: small, without aliases or tags, each key once and a text, numbers as JSON's."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from llmc.errors import UserError, quoted, shortened
from llmc.reading.bounded import MB, read_text

LONGEST = MB
DEPTH = 16
MOST = 20_000
"""Values, keys and marks of a document at most."""


class _Loader(yaml.SafeLoader):
    """Plain values are as in YAML 1.2: `2:4` and `on` are texts, and neither 124 nor true."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012  (PyYAML's own name and form)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(None, None, f"the key {quoted(key)} is no text", key_node.start_mark)
            if key in found:
                raise yaml.MarkedYAMLError(None, None, f"the key {quoted(key)} comes twice", key_node.start_mark)
            found[key] = self.construct_object(value_node, deep=True)
        return found


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,20}", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
     list("-+0123456789.")),
):  # fmt: skip
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    return loader.construct_mapping(node, deep=True)


def _sequence(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return list(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
_Loader.add_constructor("tag:yaml.org,2002:seq", _sequence)


def yaml_document(path: Path, what: str) -> Any:
    """The one document in a YAML file. `what` is what the file is called in a message, such as "recipe r.yaml"."""
    text = read_text(path, at_most=LONGEST, hint="give a YAML file", mark=True)
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise UserError(f"{what} is not YAML that is read here: {shortened(said, 250)}", hint=_WAY) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what} is not YAML that is read here: {shortened(str(error), 250)}", hint=_WAY) from None


_WAY = "write plain keys and values, each once"


def _check_events(text: str) -> None:
    """Raises `ValueError` for what makes a small text large or strange, before anything of it is built."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if number > MOST:
            raise ValueError(f"it has more than {MOST:,} values")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise ValueError(f"line {line} has an anchor or an alias")
        if (tag := getattr(event, "tag", None)) is not None:
            raise ValueError(f"line {line} has the tag {quoted(tag)}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise ValueError(f"line {line} is more than {DEPTH} deep")
