"""What the command line says, as files: every help screen, what `--json` lists, and how wrong lines end.

    python -m tests.golden --write

writes them anew; `tests/test_golden.py` compares. A change here is a change that a user sees: CHANGELOG names it.
"""

import argparse
import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import typer

from llmc import cli
from llmc.commands.rendering.app import app

FOLDER = Path(__file__).with_name("golden")
WRONG = (
    ("eval",),
    ("evl", "mini"),
    ("eval", "mini", "--out", "x", "--suite", "kikc"),
    ("eval", "mini", "--out", "x", "--tasks", "factoid"),
    ("compress", "mini", "--out", "x", "--method", "gtpq"),
    ("compress", "mini", "--out", "x", "--method", "gptq", "--bits", "1000"),
    ("compress", "nowhere", "--out", "x", "--method", "rtn"),
    ("compare", "nowhere", "nowhere"),
    ("gate", "nowhere", "nowhere"),
    ("inspect", "nowhere"),
    ("run", "mini", "--out", "x", "--recipe", "nowhere.yaml"),
)
"""Lines that can't be meant."""


def screens() -> Iterator[tuple[str, list[str]]]:
    """(name, arguments) of every help screen and every list."""
    yield "llmc", ["--help"]
    for name, command in sorted(typer.main.get_command(app).commands.items()):
        yield name, [name, "--help"]
        for part in sorted(getattr(command, "commands", {})):
            yield f"{name}-{part}", [name, part, "--help"]
    yield "methods-json", ["methods", "--json"]
    yield "tasks-json", ["tasks", "--json"]


def said(arguments: list[str]) -> str:
    """stdout, stderr and the exit code of a line, at 100 columns."""
    out, err = io.StringIO(), io.StringIO()
    plain = {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1", "TERM": "dumb"}
    with mock.patch.dict(os.environ, plain), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(arguments)
    return f"$ llmc {' '.join(arguments)}\n{out.getvalue()}{err.getvalue()}exit {code}\n"


def made() -> dict[str, str]:
    """Every golden file by its name."""
    files = {f"{name}.txt": said(arguments) for name, arguments in screens()}
    files["wrong.txt"] = "\n".join(said(list(line)) for line in WRONG)
    return files


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        FOLDER.mkdir(exist_ok=True)
        for old in FOLDER.glob("*.txt"):
            old.unlink()
        for name, text in made().items():
            (FOLDER / name).write_text(text)
