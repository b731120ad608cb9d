"""How help screens look: switches without a type, and the commands in the order that a newcomer needs them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

ORDER = ("demo", "compress", "eval", "compare", "gate", "run", "inspect", "bench", "rescore", "methods", "tasks")
"""Commands from first steps to special cases; those not named here follow."""


def place(name: str) -> tuple[int, str]:
    """What commands are sorted by."""
    return (ORDER.index(name) if name in ORDER else len(ORDER)), name


def _bare_switches(parameters: list[Any]) -> list[Any]:
    """`--resume <bool>` would read as if it took a value."""
    for each in parameters:
        if getattr(each, "is_flag", False) and each.metavar is None:
            each.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, --help among them."""
        return _bare_switches(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose switches show no type."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, --help among them."""
        return _bare_switches(super().get_params(ctx))
