"""`llmc run` and `llmc demo`: every stage done once, taken up where it stopped, and one report at the end."""

import json

import pytest

from llmc import cli
from llmc.commands import _pipeline
from llmc.errors import Exit

LIMIT = ("--scale", "mini", "--limit", "4", "--samples", "4", "--seq-len", "64")


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "prune.yaml").write_text("stages:\n- {method: magnitude, sparsity: 0.5}\n")
    (folder / "round.yaml").write_text("stages:\n- {method: rtn, bits: 4, group_size: 32}\n")
    return folder


def llmc(*arguments, capsys):
    code = cli.run([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_run_does_every_stage_once_and_resumes_where_it_stopped(recipes, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    command = [
        "run",
        "mini",
        "--recipe",
        recipes / "prune.yaml",
        "--recipe",
        recipes / "round.yaml",
        "--out",
        out,
        *LIMIT,
    ]
    original, calls = _pipeline.run_evaluation, []

    def stop_at_the_third(job, report):
        calls.append(job.label)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(job, report)

    monkeypatch.setattr(_pipeline, "run_evaluation", stop_at_the_third)
    assert llmc(*command, capsys=capsys)[0] == Exit.INTERRUPTED
    monkeypatch.setattr(_pipeline, "run_evaluation", original)
    assert llmc(*command, capsys=capsys)[0] == Exit.USER  # it exists, and nothing is overwritten silently
    before = {p: p.read_bytes() for p in (out / "runs/dense").rglob("*") if p.is_file()}
    assert before
    code, shown, _ = llmc(*command, "--resume", capsys=capsys)
    assert code in (Exit.OK, Exit.LOST, Exit.UNDECIDED) and str(out / "report/report.html") in shown
    assert {p: p.read_bytes() for p in before} == before  # the dense run was reused, not made again
    compared = json.loads((out / "report/comparison.json").read_text())
    assert {run["facts"]["label"] for run in compared["runs"]} == {"prune", "round"}
    assert (out / "report/report.html").stat().st_size > 10_000


def test_resuming_with_other_settings_is_refused(recipes, tmp_path, capsys):
    command = ["run", "mini", "--recipe", recipes / "prune.yaml", "--out", tmp_path / "out", *LIMIT]
    llmc(*command, capsys=capsys)
    code, _, err = llmc(*command, "--resume", "--seed", "7", capsys=capsys)
    assert code == Exit.USER and err.strip().splitlines()[-1].startswith("llmc: ")


def test_a_mistake_in_the_last_recipe_is_said_before_the_first_ones_work(recipes, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("stages:\n- {method: magnitud}\n")
    command = ["run", "mini", "--recipe", recipes / "prune.yaml", "--recipe", tmp_path / "bad.yaml"]
    code, _, err = llmc(*command, "--out", tmp_path / "out", *LIMIT, capsys=capsys)
    assert code == Exit.USER and "did you mean 'magnitude'" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--suite", "kik"), "did you mean 'kick'"),
        (("--scale", "quick"), "--data-root isn't given"),
        ((), "--data-root isn't given"),  # as for `llmc eval`: a model of one's own knows nothing of the made-up world
        (("--scale", "mini", "--policy", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_a_mistake_in_what_to_evaluate_is_said_before_anything_is_compressed(wrong, said, recipes, tmp_path, capsys):
    command = ["run", "mini", "--recipe", recipes / "prune.yaml", "--out", tmp_path / "out", *wrong]
    code, _, err = llmc(*command, capsys=capsys)
    assert code == Exit.USER and said in err and not (tmp_path / "out").exists()


def test_the_demo_shows_knowledge_beside_perplexity_and_where_the_report_is(tmp_path, capsys):
    code, shown, _ = llmc("demo", "--out", tmp_path / "demo", "--limit", "3", "--json", capsys=capsys)
    rows = json.loads(shown)
    assert code == 0 and [row["name"] for row in rows] == [
        "dense", "sparsegpt-50", "wanda-50", "gptq-4bit", "gptq-8bit",
    ]  # fmt: skip
    assert all(row["perplexity"] > 1 and 0 <= row["facts"] <= 1 for row in rows)
    assert (tmp_path / "demo/report/report.html").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_text("x")
    assert llmc("demo", "--out", tmp_path / "other", "--overwrite", capsys=capsys)[0] == Exit.USER
    assert (tmp_path / "other/file").exists()


@pytest.mark.parametrize("mine", ["notes.txt", "models/llama", "runs/monday"])
def test_the_demo_never_removes_what_it_did_not_make(tmp_path, capsys, mine):
    for folder in ("models/wanda-50", "runs/dense", "report", mine):
        (tmp_path / "project" / folder).mkdir(parents=True)
    code, _, err = llmc("demo", "--out", tmp_path / "project", "--overwrite", capsys=capsys)
    assert code == Exit.USER and f"would remove {tmp_path / 'project' / mine}" in err
    assert (tmp_path / "project" / mine).exists() and (tmp_path / "project/runs/dense").exists()


def test_a_recipe_that_was_edited_is_not_taken_for_the_one_that_ran(tmp_path, capsys):
    recipe = tmp_path / "prune.yaml"
    recipe.write_text("stages:\n- {method: magnitude, sparsity: 0.5}\n")
    command = ["run", "mini", "--recipe", recipe, "--out", tmp_path / "out", *LIMIT]
    llmc(*command, capsys=capsys)
    recipe.write_text("stages:\n- {method: magnitude, sparsity: 0.9}\n")
    code, _, err = llmc(*command, "--resume", capsys=capsys)
    assert code == Exit.USER and "was made with another method or settings" in err
