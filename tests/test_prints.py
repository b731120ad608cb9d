"""Every way in which text leaves the program, found in the source: each is one of the functions that make it harmless.

A new `print`, `typer.echo`, rich console, log handler or CSV writer fails here until it goes through them.
"""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llmc"
SINKS = {
    "commands/rendering/say.py": "lines, JSON, ready text and log records: the place for them",
    "report/console.py": "rich's tables and styled lines: the place for them",
    "streams.py": "what libraries print",
    "stopping.py": "the one fixed sentence about a signal, which holds no foreign text",
}
OUTLETS = {
    "print", "input", "echo", "secho", "confirm", "prompt", "echo_via_pager", "pprint", "print_exc", "print_exception",
    "print_stack", "inspect_print", "rprint", "StreamHandler", "FileHandler", "basicConfig", "warn", "warn_explicit",
    "tqdm", "trange", "track", "from_markup", "from_ansi", "markup", "log_action",
}  # fmt: skip
"""Names of functions that write to a terminal or a log, of whatever library."""
COMMON = {"print", "prompt", "confirm", "input", "track", "markup"}
"""Those that objects of other kinds have too."""
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
RICH = {"rich.console", "rich.text", "rich.markup", "rich.live", "rich.panel", "rich.markdown", "rich"}
"""What turns text into a terminal's codes; `Console`, `styled` and `joined` of llmc/report/console.py stand for it."""
REASONED = {
    ("commands/rendering/app.py", "basicConfig"): "its only handler is LogLines, asserted below",
    ("report/terminal.py", "rich.text"): "the type of what `styled` gives; it makes none, asserted below",
    ("models/stock_load.py", "stderr"): "redirect_stderr takes a library's report away",
}
READY = {"say_ready": {("commands/gate.py", "command")}}
"""Where text passes that its own function has made ready: what `github_annotations` gives."""
FILES = sorted(PACKAGE.rglob("*.py"))


def outlets(path):
    """(name, line) of every outlet that a file has."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            owner = getattr(called.value, "id", "") if isinstance(called, ast.Attribute) else None
            theirs = (owner is None and name != "prompt") or owner in (
                "typer",
                "click",
                "rich",
                "builtins",
            )  # `console.print` is ours: see RICH
            if name in OUTLETS and (theirs or name not in COMMON):
                found.append((name, node.lineno))
        if isinstance(node, ast.Attribute) and node.attr in STREAMS and getattr(node.value, "id", "") == "sys":
            found.append((node.attr, node.lineno))
        if isinstance(node, ast.Attribute) and node.attr == "redirect_stderr":
            found.append(("stderr", node.lineno))
        if isinstance(node, ast.ImportFrom) and node.module in ("typer", "click"):
            found += [(alias.name, node.lineno) for alias in node.names if alias.name in OUTLETS]
        if isinstance(node, ast.ImportFrom) and node.module in RICH:
            found.append((node.module, node.lineno))
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names if alias.name in RICH]
        if isinstance(node, ast.Attribute) and node.attr in ("writer", "DictWriter"):
            found.append((f"csv.{node.attr}", node.lineno))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_text_leaves_through_the_functions_for_its_place(path):
    name = str(path.relative_to(PACKAGE))
    if name in SINKS:
        return
    left = [(outlet, number) for outlet, number in outlets(path) if (name, outlet) not in REASONED]
    assert left == [], "use say or say_json (commands/rendering/say.py), Console (report/console.py) or a logger"


def test_the_list_of_reasons_is_no_longer_than_it_must_be():
    found = {(str(path.relative_to(PACKAGE)), outlet) for path in FILES for outlet, _ in outlets(path)}
    assert set(REASONED) <= found
    assert {name for name, _ in found if name in SINKS} == set(SINKS)


def test_the_search_finds_what_it_must(tmp_path):
    source = tmp_path / "new.py"
    source.write_text(
        "import csv, logging, sys, typer, warnings\nfrom rich.console import Console\n"
        "typer.echo(name)\nprint(name)\nsys.stderr.write(name)\nlogging.StreamHandler()\nwarnings.warn(name)\n"
        "csv.writer(file)\nConsole().print(name)\n"
    )
    assert {name for name, _ in outlets(source)} >= {
        "echo", "print", "stderr", "StreamHandler", "warn", "csv.writer", "rich.console",
    }  # fmt: skip


def calls(path, names):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in names:
                yield name, node


def test_only_ready_text_is_printed_as_it_is():
    for path in FILES:
        name = str(path.relative_to(PACKAGE))
        for called, node in calls(path, READY):
            assert (name, getattr(node.args[0], "id", None)) in READY[called], f"{name}:{node.lineno}"


def test_the_one_handler_of_the_log_is_the_one_that_makes_lines():
    found = [node for path in FILES for _, node in calls(path, {"basicConfig"})]
    assert len(found) == 1
    handlers = next(each.value for each in found[0].keywords if each.arg == "handlers")
    assert ast.unparse(handlers) == "[LogLines()]"
    assert not [path for path in (PACKAGE / "commands").glob("*.py") for _ in calls(path, {"Text", "assemble"})]
    assert not list(calls(PACKAGE / "report/terminal.py", {"Text", "assemble"}))


def test_a_console_is_given_no_text_that_passes_it_by():
    """rich makes a Text of every `str` by `render_str`, which ours overrides; a column's own text is the exception."""
    for path in FILES:
        for _, node in calls(path, {"TextColumn"}):
            assert isinstance(node.args[0], ast.Constant), "a progress column's words are fixed; its fields pass `line`"
    source = (PACKAGE / "commands/rendering/progress.py").read_text(encoding="utf-8")
    assert "doing=line(doing)" in source and "add_task(line(title)" in source
