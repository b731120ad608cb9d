"""What Tab offers is what the commands take, and it comes without importing torch."""

import os
import subprocess
import sys
from typing import get_args

import pytest

from llmc.commands.rendering import completion
from llmc.compress.recipe import methods
from llmc.evaluate.task import Mode, Scale
from llmc.jobs.asking import SUITES


def test_names_are_those_that_the_commands_take():
    assert completion.methods("") == sorted(methods()) and completion.methods("w") == ["wanda"]
    assert completion.suites("") == list(SUITES) == list(completion.SUITES)
    assert completion.scales("") == list(get_args(Scale)) and completion.modes("c") == ["compat"]
    assert completion.modes("") == list(get_args(Mode))


def test_a_second_suite_is_offered_behind_a_comma_and_none_twice():
    assert completion.suites("k") == ["kick"] and completion.suites("kick,") == ["kick,trust"]
    assert completion.suites("trust,kick,") == []


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("llmc comp", ["compress", "compare"]),
        ("llmc compress mini --method s", ["sparsegpt", "svd"]),
        ("llmc eval mini --suite kick,", ["kick,trust"]),
        ("llmc run mini --scale q", ["quick"]),
        ("llmc methods a", ["awq"]),
    ],
)
def test_a_shell_gets_its_answers(line, offered):
    words = line.split(" ")
    asked = {"_LLMC_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    script = (
        "import sys; sys.argv = ['llmc']\n"
        "from llmc.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    shell = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert [word.strip() for word in shell.stdout.split()] == offered, shell.stderr
