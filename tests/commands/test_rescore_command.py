"""`llmc rescore` writes a finished run by other rules and says what it can't do."""

import json

import pytest
from typer.testing import CliRunner

from llmc.commands.rendering.app import app
from llmc.errors import UserError
from llmc.evaluate.task import TaskContext
from llmc.runs.writer import Run, RunWriter
from tests.trust import made_up
from tests.trust.machinery.test_rescore import run, speaker
from tests.trust.pretend import dimensions

RUNNER = CliRunner()


@pytest.fixture
def finished(tmp_path):
    made_up.write_ethics(tmp_path / "data/decodingtrust/data")
    task = dimensions()["ethics"].tasks[0]
    ctx = TaskContext(mode="compat", data_root=tmp_path / "data", limit=60, scorer="vC")
    results, lines = run(task, ctx, speaker(task.name))
    writer = RunWriter(tmp_path / "run")
    manifest = {"mode": "compat", "scale": "quick", "seed": 0, "limit": 60, "suites": ["trust"]}
    manifest |= {"tasks": {task.name: {"suite": "trust", "scorer": "vC"}, "kick/other": {"suite": "kick"}}}
    writer.begin(manifest)
    writer.write_samples(task.name, lines)
    writer.write_samples("kick/other", [{"id": "a"}])
    other = {**results, "suite": "kick"}
    writer.finish(manifest, {"tasks": {task.name: results, "kick/other": other}, "dimensions": {}})
    return tmp_path


def test_a_run_is_scored_by_other_rules_and_the_rest_is_copied(finished):
    asked = ["rescore", str(finished / "run"), "--out", str(finished / "new"), "--scorer", "v1"]
    shown = RUNNER.invoke(app, [*asked, "--data-root", str(finished / "data")])
    assert shown.exit_code == 0, shown.exception
    before, after = Run(finished / "run"), Run(finished / "new")
    assert after.manifest["tasks"]["trust/ethics"]["scorer"] == "v1"
    assert after.manifest["tasks"]["trust/ethics"]["version"] == dimensions()["ethics"].tasks[0].version
    scores = [one.results["tasks"]["trust/ethics"]["metrics"]["score"]["value"] for one in (before, after)]
    assert scores[0] != scores[1]
    assert after.results["dimensions"]["ethics"]["score"] == pytest.approx(scores[1])
    assert after.results["tasks"]["kick/other"] == before.results["tasks"]["kick/other"]
    assert list(after.samples("kick/other")) == [{"id": "a"}]
    json.dumps(after.results, allow_nan=False)


def test_a_wrong_version_and_a_missing_folder_are_the_users_to_mend(finished):
    base = ["rescore", str(finished / "run"), "--out", str(finished / "new")]
    wrong = RUNNER.invoke(app, [*base, "--scorer", "v9", "--data-root", str(finished / "data")])
    assert isinstance(wrong.exception, UserError) and "v9" in str(wrong.exception)
    without = RUNNER.invoke(app, [*base, "--scorer", "v1"])
    assert isinstance(without.exception, UserError) and "--data-root" in str(without.exception)
    assert not (finished / "new").exists()
