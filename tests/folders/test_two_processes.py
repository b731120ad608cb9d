"""Two whole commands at one folder: the second is told who holds it, with exit code 2; the first is undisturbed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmc import cli
from llmc.folders.marker import LOCK

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "compress": ["compress", "mini", "--method", "gptq", "--bits", "4", "--group-size", "32", "--out", "out"],
    "eval": [
        "eval",
        "mini",
        "--tasks",
        "factoid_qa,retrieval_qa",
        "--scale",
        "mini",
        "--device",
        "cpu",
        "--out",
        "out",
    ],
}


@pytest.mark.parametrize("option", ["--resume", None], ids=["resume", "plain"])
@pytest.mark.parametrize("name", COMMANDS)
def test_the_second_process_is_told_who_holds_the_folder(name, option, tmp_path, monkeypatch, capsys):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(
        [sys.executable, "-m", "llmc", *COMMANDS[name]], cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (tmp_path / "out" / LOCK).exists():
            assert first.poll() is None, first.communicate()[1]
            time.sleep(0.01)
        os.kill(first.pid, 19)  # SIGSTOP: it holds the folder for as long as this takes
        monkeypatch.chdir(tmp_path)
        code = cli.run([*COMMANDS[name], *([option] if option else [])])
        said = capsys.readouterr().err
    finally:
        os.kill(first.pid, 18)
    assert code == 2 and "Traceback" not in said
    assert option is None or str(first.pid) in said
    _, errors = first.communicate(timeout=600)
    assert first.returncode == 0, errors
    assert cli.run(["verify", "out"]) == 0
