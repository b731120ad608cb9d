"""The help text of a method's settings: the one-line docstring beneath each field of its dataclass."""

from __future__ import annotations

import ast
import inspect
import textwrap
from itertools import pairwise


def field_help(cls: type) -> dict[str, str]:
    """`{field: docstring}` for the annotated assignments of `cls`, read from its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for node, after in pairwise(tree.body):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[node.target.id] = " ".join(value.value.split())
    return found
