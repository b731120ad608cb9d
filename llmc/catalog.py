"""Finds plug-ins: every module of a package that ends in `METHOD`, `TASK`, `DIMENSION` or the like."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from llmc.errors import unknown

T = TypeVar("T")


@functools.cache
def catalog(package: str, attribute: str) -> Mapping[str, Any]:
    """`{item.name: item}` over the modules of `package`, sorted by name.

    Sub-packages are passed over. A module without `attribute`, or with a name that another one has, is our own mistake.
    """
    found: dict[str, Any] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"{package}.{info.name}")
        if not hasattr(module, attribute):
            raise RuntimeError(f"{module.__name__} does not end in {attribute} = ...")
        item = getattr(module, attribute)
        if item.name in found:
            raise RuntimeError(f"{module.__name__}: the name {item.name!r} is taken")
        found[item.name] = item
    return MappingProxyType(dict(sorted(found.items())))


def pick(items: Mapping[str, T], name: str, kind: str) -> T:
    """The item called `name`; a `UserError` with the nearest match when there is none."""
    if name not in items:
        raise unknown(kind, name, items)
    return items[name]
