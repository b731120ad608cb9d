"""Writes the parts of the docs that come from the code: the tree of files, the tables of methods and formats.

`python -m tests.generated_docs --write` renews them; the test beside this file fails when they are stale.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tree() -> str:
    """The package's files, each with the first sentence of its docstring."""
    lines = ["```", "llmc/"]
    for path in sorted((ROOT / "llmc").rglob("*.py"), key=lambda p: (len(p.parts) == 1, p.parent.parts, p.name)):
        inside = path.relative_to(ROOT / "llmc")
        text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
        phrase = text.split(". ")[0].rstrip(".")
        indent = "  " * len(inside.parts)
        if path.name == "__init__.py":
            if inside.parent.parts:
                lines.append(f"{'  ' * len(inside.parent.parts)}{inside.parent.name}/".ljust(32) + phrase)
            continue
        lines.append(f"{indent}{path.name}".ljust(32) + phrase)
    return "\n".join([*lines, "```"])


def methods_table() -> str:
    """A row for each compression method."""
    from llmc.compress.recipe import methods, settings_of

    rows = ["| method | kind | what it does | settings | source |", "| --- | --- | --- | --- | --- |"]
    for name, method in methods().items():
        first = " ".join((method.__doc__ or "").strip().split("\n\n")[0].split())
        settings = ", ".join(f"`{key}={field.default}`" for key, field in settings_of(method).items())
        rows.append(f"| [{name}](methods/{name}.md) | {method.kind} | {first} | {settings} | {method.source} |")
    return "\n".join(rows)


def formats_table() -> str:
    """A row for each file format."""
    from llmc.catalog import catalog

    rows = ["| format | what it is | loads with |", "| --- | --- | --- |"]
    for name, fmt in catalog("llmc.compress.formats", "FORMAT").items():
        first = " ".join((type(fmt).__doc__ or "").strip().split("\n\n")[0].split())
        rows.append(f"| `{name}` | {first} | {fmt.loads_with} |")
    return "\n".join(rows)


PARTS: dict[tuple[str, str], Callable[[], str]] = {
    ("docs/architecture.md", "tree"): tree,
    ("docs/methods.md", "methods"): methods_table,
    ("docs/methods.md", "formats"): formats_table,
}


def fresh(path: str, name: str) -> tuple[str, str]:
    """(the file as it stands, the file with the part `name` renewed)."""
    text = (ROOT / path).read_text()
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise RuntimeError(f"{path} has no part {name}")
    return text, f"{before}{begin}\n{PARTS[path, name]()}\n{end}{after}"


if __name__ == "__main__" and "--write" in sys.argv:
    for where, part in PARTS:
        (ROOT / where).write_text(fresh(where, part)[1])
