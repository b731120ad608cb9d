"""Imports inside the package point down only, and the shape rules of the code hold."""

import ast
import statistics
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llmc"
LAYERS = [
    {
        "errors",
        "catalog",
        "checked_lines",
        "checksums",
        "files",
        "findings",
        "folders",
        "harmless",
        "offline",
        "reading",
        "stopping",
        "streams",
        "version",
    },
    {"ops"},
    {"kernels"},
    {"models", "data"},
    {"compress", "kv_cache", "evaluate"},
    {"kick_bench", "trust", "runs"},
    {"judging"},
    {"report"},
    {"jobs", "commands", "cli", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def part(path: Path) -> str:
    inside = path.relative_to(PACKAGE).parts
    return inside[0] if len(inside) > 1 else path.stem


def imported(path: Path) -> set[str]:
    """The parts of llmc that the file imports anywhere, functions included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            pieces = name.split(".")
            if pieces[0] == "llmc" and len(pieces) > 1 and (pieces[1] in LEVEL or (PACKAGE / pieces[1]).exists()):
                found.add(pieces[1])
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    own = part(path)
    if own == "__init__":
        return  # the public names, each imported when it is asked for
    assert own in LEVEL, f"{own} has no layer: add it to LAYERS"
    for other in imported(path):
        beside = LEVEL[other] == LEVEL[own] and LEVEL[own] in (
            0,
            len(LAYERS) - 1,
        )  # siblings know each other only there
        assert other == own or LEVEL[other] < LEVEL[own] or beside, f"{path} imports llmc.{other}"


def test_no_file_is_over_400_lines_and_the_median_is_at_most_150():
    lengths = {path: len(path.read_text().splitlines()) for path in FILES}
    assert {p.name: n for p, n in lengths.items() if n > 400} == {}
    assert statistics.median(n for n in lengths.values() if n > 5) <= 150


def test_no_function_is_over_60_lines():
    long = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 60:
                long[f"{path.name}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert long == {}


def test_no_file_hides_behind_an_underscore():
    assert {p.name for p in FILES if p.name.startswith("_")} == {"__init__.py", "__main__.py"}


def test_no_file_is_named_after_nothing():
    assert not {p.name for p in FILES} & {"utils.py", "helpers.py", "base.py", "misc.py", "common.py"}
