"""What is in the package's folders is in the wheel too."""

import fnmatch
import re
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def test_every_file_beside_the_code_is_package_data():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = setuptools["package-data"]["llmc"]
    beside = [
        str(path.relative_to(ROOT / "llmc"))
        for path in (ROOT / "llmc").rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    assert beside
    assert [name for name in beside if not any(fnmatch.fnmatch(name, p) for p in patterns)] == []


def test_every_extra_is_for_something_that_the_code_names():
    """`ray` was offered for long with nothing behind it."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = "\n".join(path.read_text() for path in (ROOT / "llmc").rglob("*.py"))
    names = [re.split(r"[\[<>=;]", need)[0] for extra, needs in extras.items() if extra != "dev" for need in needs]
    assert len(names) >= 3 and [name for name in names if not re.search(rf"\b{name}\b", code)] == []
