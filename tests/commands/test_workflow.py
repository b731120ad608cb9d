"""The pipelines of docs/gate.md do what the page promises: their commands, as they stand there, end green."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.generated_docs import ROOT

PAGE = (ROOT / "docs/gate.md").read_text()
OTHERS = ("pip ",)
"""What a pipeline runs besides llmc, which the tests' own environment stands for."""


def steps(heading):
    """The `llmc` command lines of the pipeline under a heading."""
    data = yaml.safe_load(re.search(rf"## {heading}\n+```yaml\n(.*?)```", PAGE, re.DOTALL).group(1))
    job = data["jobs"]["gate"] if "jobs" in data else data["gate"]
    commands = [step["run"].strip() for step in job["steps"] if "run" in step] if "steps" in job else job["script"]
    assert all(command.startswith(("llmc ", *OTHERS)) for command in commands), commands
    return [command for command in commands if not command.startswith(OTHERS)]


def test_both_pipelines_run_the_same_commands_up_to_what_the_gate_writes():
    github, gitlab = steps("GitHub Actions"), steps("GitLab")
    assert len(github) == 4 and github[:3] == gitlab[:3]
    assert [command.split()[1] for command in github] == ["eval", "compress", "eval", "gate"]
    assert github[3].partition(" --")[0] == gitlab[3].partition(" --")[0] == "llmc gate runs/dense runs/w8"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """(folder, what each command of the GitHub workflow did), in order, until one fails."""
    folder = tmp_path_factory.mktemp("workflow")
    env = {**os.environ, "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    done = []
    for command in steps("GitHub Actions"):
        argv = [os.path.expandvars(word.replace("$GITHUB_STEP_SUMMARY", env["GITHUB_STEP_SUMMARY"]))
                for word in shlex.split(command)[1:]]  # fmt: skip
        done.append(subprocess.run([sys.executable, "-m", "llmc", *argv], cwd=folder, env=env, capture_output=True))
        if done[-1].returncode:
            break
    return folder, done


def test_the_documented_workflow_ends_green_with_a_smaller_model(outcome):
    folder, done = outcome
    said = "\n".join((one.stdout + one.stderr).decode() for one in done)
    assert len(done) == 4, said
    run = json.loads((folder / "out/gate.json").read_text())["runs"][0]
    stereotype = next(h for h in run["health"] if h["task"] == "trust/stereotype")
    left = {row["name"] for row in run["rules"] if row["word"] != "PASS"}
    if stereotype["n_paired"] < 100 and left == {"stereotype", "trust/stereotype"}:
        pytest.xfail(f"stereotype has {stereotype['n_paired']} items at scale mini, and a verdict asks for 100")
    assert done[3].returncode == 0, said
    assert run["word"] == "PASS" and run["counts"]["PASS"] == len(run["rules"]) > 20 and run["size_ratio"] < 0.8


def test_the_documented_workflow_writes_what_it_uploads(outcome):
    folder, done = outcome
    assert len(done) == 4
    assert {path.name for path in (folder / "out").iterdir()} == {"gate.xml", "gate.json", "report.html"}
    assert (folder / "summary.md").read_text().startswith("**llmc gate: ")
    assert done[3].stdout.decode().count("::notice title=llmc gate ") == 1
