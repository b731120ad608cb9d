"""How help screens look: types as a shell knows them, and the commands in the order that a newcomer needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from llmc.streams import harmless_streams

ORDER = (
    "demo",
    "compress",
    "eval",
    "compare",
    "gate",
    "run",
    "inspect",
    "verify",
    "bench",
    "rescore",
    "methods",
    "tasks",
)
"""Commands from first steps to special cases; those not named here follow."""


def place(name: str) -> tuple[int, str]:
    """What commands are sorted by."""
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name


def _readable(parameters: list[Any], ctx: Any) -> list[Any]:
    """`--resume <bool>` would read as if it took a value, and `<list[Path]>` is Python."""
    for each in parameters:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
        said = each.display_type(ctx) if hasattr(each, "display_type") else ""
        if said.startswith("<list["):
            each.display_type = _saying(f"<{said.removeprefix('<list[').removesuffix(']>').lower()}>")
    return parameters


def _saying(words: str) -> Callable[[Any], str]:
    return lambda ctx: words


class Command(TyperCommand):
    """A command whose help is readable."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, --help among them."""
        return _readable(super().get_params(ctx), ctx)

    def invoke(self, ctx: Any) -> Any:
        """The command's own work: what libraries print meanwhile is made harmless."""
        with harmless_streams():
            return super().invoke(ctx)


class Group(TyperGroup):
    """A group of commands whose help is readable."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, --help among them."""
        return _readable(super().get_params(ctx), ctx)
