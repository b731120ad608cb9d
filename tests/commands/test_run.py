"""`llmc run` and `llmc demo`: every stage done once, taken up where it stopped, and one report at the end."""

import json

import pytest
import typer

from llmc import cli
from llmc.commands.rendering import app
from llmc.errors import Exit
from llmc.jobs import pipeline

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
    original, calls = pipeline.run_evaluation, []

    def stop_at_the_third(job, report):
        calls.append(job.label)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(job, report)

    monkeypatch.setattr(pipeline, "run_evaluation", stop_at_the_third)
    assert llmc(*command, capsys=capsys)[0] == Exit.INTERRUPTED
    monkeypatch.setattr(pipeline, "run_evaluation", original)
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
    assert code == Exit.USER and "project was not made by llmc demo" in err
    assert (tmp_path / "project" / mine).exists() and (tmp_path / "project/runs/dense").exists()


def test_a_recipe_that_was_edited_is_not_taken_for_the_one_that_ran(tmp_path, capsys):
    recipe = tmp_path / "prune.yaml"
    recipe.write_text("stages:\n- {method: magnitude, sparsity: 0.5}\n")
    command = ["run", "mini", "--recipe", recipe, "--out", tmp_path / "out", *LIMIT]
    llmc(*command, capsys=capsys)
    recipe.write_text("stages:\n- {method: magnitude, sparsity: 0.9}\n")
    code, _, err = llmc(*command, "--resume", capsys=capsys)
    assert code == Exit.USER and "was made with another method or settings" in err


OWN = {
    "run": {"model", "out", "recipe", "calibration", "samples", "seq_len", "format_", "policy", "resume"},
    "eval": {"model", "out", "dense_run", "label", "resume", "as_json"},
}
"""What only one of them takes. The dense run and the labels are the pipeline's own to know."""


def test_run_takes_what_eval_takes():
    """All words, values, defaults and help: an option that is added to one and not to the other fails here."""
    taken = {}
    for name in OWN:
        parameters = {p.name: p for p in typer.main.get_command(app.app).commands[name].params}
        shared = {key: p for key, p in parameters.items() if key not in {*OWN[name], "help"}}
        taken[name] = {key: (p.opts, p.secondary_opts, p.default, p.help, p.multiple) for key, p in shared.items()}
    assert taken["run"] == taken["eval"] and {"tasks", "judge", "kernels", "dtype", "chat"} <= set(taken["run"])


def test_what_run_was_told_reaches_every_evaluation(recipes, tmp_path, capsys):
    more = ["--tasks", "factoid_qa,perplexity", "--dtype", "bfloat16", "--kernels", "dense", "--batch-tokens", "512"]
    judges = ["--judge", "rouge", "--judge", "dense-likelihood"]
    command = ["run", "mini", "--recipe", recipes / "round.yaml", "--out", tmp_path / "out", *LIMIT, *more, *judges]
    code, _, err = llmc(*command, "--no-chat", capsys=capsys)
    assert code in (Exit.OK, Exit.LOST, Exit.UNDECIDED, Exit.NOT_COMPARABLE), err
    for name, judged in (("dense", {"rouge"}), ("round", {"rouge", "dense-likelihood"})):
        manifest = json.loads((tmp_path / "out/runs" / name / "manifest.json").read_text())
        assert set(manifest["tasks"]) == {"kick/factoid_qa", "kick/perplexity"}
        assert manifest["model"]["dtype"] == "bfloat16" and manifest["kernels"] == "dense"
        assert manifest["batch_tokens"] == 512 and set(manifest["judges"]) == judged


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--scale", "quick", "--data-root", "{empty}"), "llmc data pull"),
        (("--scale", "mini", "--tasks", "factoid_qa", "--judge", "nli=nowhere"), "nowhere"),
        (("--scale", "mini", "--tasks", "factoid_qa", "--judge", "pairwise=nowhere"), "neither a folder nor CLASS"),
        (("--scale", "mini", "--dtype", "float7"), "unknown dtype 'float7'"),
        (("--scale", "mini", "--backend", "nope"), "backend nope"),
        (("--scale", "mini", "--seq-len", "100000"), "--seq-len"),
        (("--scale", "mini", "--format", "gptq"), "magnitude"),
        (("--scale", "mini", "--suite", "trust", "--scorer", "v9"), "v9"),
    ],
)
def test_what_would_stop_a_later_stage_is_said_before_the_first(wrong, said, recipes, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "run_compression", lambda *_, **__: pytest.fail("something was compressed"))
    (tmp_path / "empty").mkdir()
    given = [word.format(empty=tmp_path / "empty") for word in wrong]
    (tmp_path / "last.yaml").write_text("stages:\n- {method: wanda, sparsity: 0.5}\n")
    command = ["run", "mini", "--recipe", recipes / "round.yaml", "--recipe", tmp_path / "last.yaml", *given]
    code, _, err = llmc(*command, "--out", tmp_path / "out", capsys=capsys)
    assert code == Exit.USER and not (tmp_path / "out").exists() and "Traceback" not in err, err
    if "magnitude" not in said:
        assert said in err.splitlines()[-1], err


def test_a_disk_too_small_for_all_stages_is_said_before_the_first(recipes, tmp_path, capsys, monkeypatch):
    """One compression would fit, two and the answers don't."""
    import shutil

    from llmc.data.mini_model import mini_model_path
    from llmc.models.checkpoint import Checkpoint

    usage = shutil.disk_usage(tmp_path)._replace(free=int(1.4 * Checkpoint(mini_model_path()).n_bytes))
    monkeypatch.setattr("llmc.files.shutil.disk_usage", lambda _: usage)
    (tmp_path / "last.yaml").write_text("stages:\n- {method: magnitude, sparsity: 0.3}\n")
    command = ["run", "mini", "--recipe", recipes / "prune.yaml", "--recipe", tmp_path / "last.yaml", *LIMIT]
    code, _, err = llmc(*command, "--out", tmp_path / "out", capsys=capsys)
    assert code == Exit.USER and "are needed; free some space" in err and not (tmp_path / "out").exists()
