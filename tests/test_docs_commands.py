"""What the docs show can be typed: every `llmc` command line parses, and every option, path and name exists."""

import importlib
import re
import shlex
from pathlib import Path

import pytest
import typer

from llmc.commands.rendering.app import app
from tests.generated_docs import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
PATH = re.compile(r"(?<![\w./-])(?:llmc|tests|bench|docs)/[\w./*-]*[\w*/]")
FILE = re.compile(r"(?<![\w./-])\w+\.(?:py|sh)\b")
DOTTED = re.compile(r"(?<![\w./-])llmc(?:\.\w+)+")
OTHERS = ("npm ", "pip ", "apt-get ", "huggingface-cli ", "curl ")
"""Programs whose options are their own."""
ABSENT = {"llmc/kernels/gpu_tiles.json"}
"""What a page names to say that it isn't there."""


def block_lines(page):
    """Lines of code blocks, a continued one joined with what it goes on from."""
    found = []
    for block in FENCE.findall(page.read_text()):
        lines = []
        for line in re.sub(r">\n\s+|\\\n", " ", block).splitlines():
            if lines and re.match(r"\s+(--|\[)", line):
                lines[-1] += " " + line.strip()
            else:
                lines.append(line.strip())
        found += lines
    return found


def code_of(page):
    """Everything on a page that is set as code: the lines of blocks, and what stands between backticks."""
    return block_lines(page) + INLINE.findall(FENCE.sub("", page.read_text()))


def commands_of(page):
    """(command line, whether it is whole) without prompts, comments and the key of a pipeline's step.

    A line with marks of a form ("[--out DIR]", "RUN…") isn't whole, and what stands between backticks needn't be.
    """
    whole = block_lines(page)
    for line in code_of(page):
        match = re.match(r"(?:\$ |- (?:run: )?(?:> ?)?)?llmc ([a-z].*)", line)
        if match:
            command = match[1].partition("  #")[0].strip()
            yield command, line in whole and not any(mark in command for mark in "[…|")


def parser(words):
    """(the click command that the words name, its name, the words that are left)."""
    command, name = typer.main.get_command(app), "llmc"
    while words and words[0] in getattr(command, "commands", {}):
        name = words[0]
        command, words = command.commands[name], words[1:]
    return command, name, words


def options_of(command):
    found = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help", "--version"}
    return found.union(*(options_of(each) for each in getattr(command, "commands", {}).values()))


COMMANDS = sorted({(page.relative_to(ROOT).as_posix(), *found) for page in PAGES for found in commands_of(page)})


def test_the_docs_show_commands():
    assert len(COMMANDS) > 40 and sum(whole for _, _, whole in COMMANDS) > 15


@pytest.mark.parametrize(("page", "line", "whole"), COMMANDS)
def test_a_command_line_that_the_docs_show_parses(page, line, whole):
    words = shlex.split(re.sub(r"[\[\]]", " ", line))
    command, name, rest = parser(words)
    assert name != "llmc", f"{page}: llmc has no command {words[0]}"
    unknown = set(OPTION.findall(" ".join(rest))) - options_of(command)
    assert not unknown, f"{page}: llmc {name} has no {', '.join(unknown)}"
    if whole:
        command.make_context(name, rest)


def test_every_option_that_the_docs_name_exists():
    scripts = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "bench").rglob("*.sh"), ROOT / "tests/generated_docs.py"]
    known = options_of(typer.main.get_command(app)).union(*(OPTION.findall(path.read_text()) for path in scripts))
    named = {
        (page.relative_to(ROOT).as_posix(), option)
        for page in PAGES
        for line in code_of(page)
        if not any(other in line for other in OTHERS)
        for option in OPTION.findall(line)
    }
    assert not [each for each in sorted(named) if each[1] not in known]


def test_every_path_and_script_that_the_docs_name_exists():
    files = {path.name for folder in ("llmc", "bench", "tests") for path in (ROOT / folder).rglob("*.*")}
    missing = []
    for page in PAGES:
        for line in code_of(page):
            for name in set(PATH.findall(line)) - ABSENT:
                if not any(ROOT.glob(name.rstrip("/"))):
                    missing.append((page.name, name))
            missing += [(page.name, name) for name in FILE.findall(line) if name not in files]
            modules = re.findall(r"python3? -m ((?:bench|tests)[\w.]*)", line)
            missing += [(page.name, name) for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").is_file()]
    assert not missing


def test_every_python_name_that_the_docs_give_exists():
    missing = []
    for page in PAGES:
        for line in code_of(page):
            for name in DOTTED.findall(line):
                if Path(name).suffix not in (".json", ".md", ".toml") and not _found(name):
                    missing.append((page.name, name))
    assert not missing


def _found(name):
    """Whether a dotted name is a module, or something inside one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            inside = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(inside, part):
                return False
            inside = getattr(inside, part)
        return True
    return False
