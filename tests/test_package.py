"""What is in the package's folders is in the wheel too."""

import fnmatch
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
