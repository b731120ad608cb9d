"""A killed --overwrite leaves the old result or the new one, whole; and --resume ends in the new one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("what", [["--step", "11"], ["--step", "5", "--report"]])
def test_kills_all_over_an_overwrite(what):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = [sys.executable, "-m", "tests.folders.kill_everywhere", *what]
    ran = subprocess.run(script, cwd=ROOT, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["kills"] >= 5 and found["old"] and found["new"]
