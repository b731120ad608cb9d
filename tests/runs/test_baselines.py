"""Named baselines: what may be one, what makes one invalid, and that a gate by name is the gate by path."""

import json
import shutil

import pytest

from llmc.cli import run
from llmc.errors import Exit, UserError
from llmc.runs import baselines
from tests.report.made_up_runs import DENSE, GPTQ, write_run


@pytest.fixture
def runs(tmp_path):
    """A dense run, a compressed one and a folder for baselines."""
    write_run(tmp_path / "dense", DENSE)
    write_run(tmp_path / "gptq", GPTQ)
    return tmp_path / "dense", tmp_path / "gptq", tmp_path / "names"


def test_a_gate_by_name_decides_as_the_gate_by_path(runs, tmp_path):
    dense, gptq, names = runs
    assert run(["baseline", "save", "prod", str(dense), "--folder", str(names)]) == Exit.OK
    by_name = run(
        ["gate", "--baseline", "prod", "--baselines", str(names), str(gptq), "--json", str(tmp_path / "a.json")]
    )
    by_path = run(["gate", str(dense), str(gptq), "--json", str(tmp_path / "b.json")])
    assert by_name == by_path
    a, b = (json.loads((tmp_path / f"{x}.json").read_text()) for x in "ab")
    assert a["runs"][0]["rules"] == b["runs"][0]["rules"] and a["runs"][0]["rules"]


def test_a_run_that_changed_is_refused_until_it_is_saved_again(runs, capsys):
    dense, gptq, names = runs
    baselines.save("prod", dense, names)
    sample = next((dense / "samples").rglob("*.jsonl"))
    sample.write_text(sample.read_text().replace("1", "2", 1))
    assert run(["gate", "--baseline", "prod", "--baselines", str(names), str(gptq)]) == Exit.USER
    assert "has changed since it was saved" in capsys.readouterr().err
    baselines.save("prod", dense, names, overwrite=True)
    assert baselines.find("prod", names) == dense.resolve()


def test_a_compressed_run_is_no_baseline(runs):
    _, gptq, names = runs
    with pytest.raises(UserError, match="compressed model"):
        baselines.save("prod", gptq, names)
    assert not names.exists()


def test_names_are_checked_kept_and_suggested(runs):
    dense, _, names = runs
    for bad in ("../x", "", "a b", "x" * 65):
        with pytest.raises(UserError, match="can't name"):
            baselines.save(bad, dense, names)
    with pytest.raises(UserError, match="llmc baseline save prod"):
        baselines.find("prod", names)
    baselines.save("prod", dense, names)
    with pytest.raises(UserError, match="--overwrite"):
        baselines.save("prod", dense, names)
    with pytest.raises(UserError, match="did you mean 'prod'"):
        baselines.find("prd", names)


def test_baselines_and_runs_may_move_together(runs, tmp_path):
    dense, _, _ = runs
    project = tmp_path / "project"
    shutil.copytree(dense, project / "runs" / "dense")
    baselines.save("prod", project / "runs" / "dense", project / ".llmc")
    project.rename(tmp_path / "moved")
    assert baselines.find("prod", tmp_path / "moved" / ".llmc") == (tmp_path / "moved" / "runs" / "dense").resolve()


def test_gate_takes_a_baseline_or_a_dense_run(runs):
    dense, gptq, names = runs
    baselines.save("prod", dense, names)
    both = ["gate", str(dense), str(gptq), "--baseline", "prod", "--baselines", str(names)]
    assert run(both) == Exit.USER
    assert run(["baseline", "list", "--folder", str(names), "--json"]) == Exit.OK
