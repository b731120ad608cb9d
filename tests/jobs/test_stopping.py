"""SIGTERM ends a command as Ctrl-C does: it says what is kept, and --resume goes on there. The signals are real."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from llmc import cli
from llmc.stopping import stoppable

ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are begun with SIGINT ignored
from llmc.compress.walk.journal import Journal as Blocks
from llmc.evaluate.journal import Journal as Answers
from llmc.cli import run
from llmc.compress import run as compressing

compressing.try_small_copy = lambda *_: None  # its blocks are no part of what is kept

def then_kill(stored):
    def store(*arguments):
        stored(*arguments)
        os.kill(os.getpid(), int(sys.argv[2]))
    return store

if sys.argv[1] == "blocks":
    Blocks.block_done = then_kill(Blocks.block_done)
else:
    Answers.store = then_kill(Answers.store)
sys.exit(run(sys.argv[3:]))
"""
TERM, INT = int(signal.SIGTERM), int(signal.SIGINT)
COMPRESS = ["compress", "mini", "--method", "rtn", "--group-size", "32"]
SHORT = ["--tasks", "factoid_qa,perplexity", "--scale", "mini", "--limit", "2", "--device", "cpu"]


def killed(what, number, arguments, cwd):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, "-c", KILLED, what, str(number), *map(str, arguments)]
    ran = subprocess.run(script, cwd=cwd, env=env, capture_output=True, text=True)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(
    ("what", "number", "command", "kept"),
    [
        ("blocks", TERM, COMPRESS, "1 finished block is kept in out"),
        ("answers", TERM, ["eval", "mini", *SHORT], "2 answers are kept in out"),
        ("answers", INT, ["eval", "mini", *SHORT], "2 answers are kept in out"),
        ("answers", TERM, ["run", "mini", "--recipe", "r.yaml", *SHORT], "2 answers are kept in out/runs/dense"),
    ],
)
def test_a_signal_says_what_is_kept_and_the_command_goes_on(what, number, command, kept, tmp_path, monkeypatch):
    (tmp_path / "r.yaml").write_text("stages:\n- {method: rtn, bits: 4, group_size: 32}\n")
    code, said = killed(what, number, [*command, "--out", "out"], tmp_path)
    assert code == (143 if number == TERM else 130)
    assert f"llmc: {kept}" in said and said.strip().splitlines()[-1].startswith("llmc: interrupted; what is finished")
    assert "Traceback" not in said
    monkeypatch.chdir(tmp_path)
    models = tmp_path / "out/models"
    before = {p: p.read_bytes() for p in models.rglob("*") if p.is_file()}
    assert bool(before) == (command[0] == "run")
    assert cli.run([*command, "--out", "out", "--resume"]) in ((0, 1, 3, 4) if command[0] == "run" else (0,))
    assert {p: p.read_bytes() for p in before} == before, "a finished stage is not made again"


def test_a_signal_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with stoppable() as stop:
        assert stop.code is None
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert stop.code == 143
    assert signal.getsignal(signal.SIGTERM) is before
