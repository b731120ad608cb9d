"""Paths that can't be an output: one sentence and exit code 2 in every command that writes, and nothing is touched."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmc.cli import run
from llmc.errors import UserError
from llmc.folders.place import check_out
from llmc.models.tiny import save_tiny
from tests.folders.trees import held
from tests.report.made_up_runs import write_family


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A folder with a model, two runs, a text, and a recipe; nothing in it may ever change."""
    top = tmp_path_factory.mktemp("place")
    save_tiny("llama", top / "project/model")
    write_family(top / "project/runs", n=5)
    (top / "project/text.txt").write_text("a text " * 50)
    (top / "project/r.yaml").write_text("stages:\n- {method: magnitude, sparsity: 0.5}\n")
    (top / "project/precious").write_text("mine")
    (top / "link").symlink_to(top / "project")
    (top / "new-link").symlink_to(top / "nowhere")
    (top / "loop").symlink_to(top / "loop")
    (top / "baselined/.llmc/baselines").mkdir(parents=True)
    (top / "baselined/.llmc/baselines/prod.json").write_text("{}")
    (top / "here").mkdir()
    return top


COMMANDS = {
    "compress": ["compress", "{}/project/model", "--method", "magnitude"],
    "compress --calibration": ["compress", "{}/project/model", "-m", "wanda", "--calibration", "{}/project/text.txt"],
    "compress --recipe": ["compress", "{}/project/model", "--recipe", "{}/project/r.yaml"],
    "eval": ["eval", "{}/project/model", "--tasks", "factoid_qa", "--scale", "mini"],
    "run": ["run", "{}/project/model", "--recipe", "{}/project/r.yaml", "--scale", "mini"],
    "demo": ["demo"],
    "compare": ["compare", "{}/project/runs/dense", "{}/project/runs/gptq4"],
    "rescore": ["rescore", "{}/project/runs/dense", "--scorer", "v1"],
}  # fmt: skip
OPTIONS = {"compress": ["--resume", "--overwrite"], "eval": ["--resume"], "run": ["--resume"],
           "demo": ["--resume", "--overwrite"], "compare": ["--overwrite"], "rescore": []}  # fmt: skip
OUTS = [".", "", "..", "{}", "{}/project", "{}/project/model", "{}/link", "{}/new-link", "{}/loop", "{}/loop/out",
        "{}/project/text.txt", "{}/project/text.txt/out", "{}/here/..",
        "{}/here/../project", "{}/baselined", "/"]  # fmt: skip
INSIDE = "{}/project/model/inside"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("out", [*OUTS, INSIDE])
def test_one_sentence_and_nothing_is_touched(family, command, out, capsys, monkeypatch):
    monkeypatch.chdir(family / "here")
    if out == INSIDE and command in ("demo", "compare", "rescore"):
        pytest.skip("reads no model there")
    before = held(family)
    for option in [None, *OPTIONS[command.split()[0]]]:
        words = [word.format(family) for word in COMMANDS[command]]
        code = run([*words, "--out", out.format(family), *([option] if option else [])])
        said = capsys.readouterr().err.strip().splitlines()
        assert code == 2 and said[-1].startswith("llmc: ") and len(said[-1]) < 500, (option, said)
        assert "Traceback" not in "".join(said)
        assert held(family) == before, option


@settings(max_examples=300, deadline=None)
@given(
    out=st.lists(st.sampled_from(["a", "b", "c", ".."]), min_size=1, max_size=5),
    read=st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4),
    model=st.booleans(),
)
def test_what_is_read_is_never_inside_by_brute_force(tmp_path_factory, out, read, model):
    """Against the plain meaning of paths that begin with one another."""
    top = tmp_path_factory.getbasetemp() / "brute"
    (top / "a/b/c/a/b").mkdir(parents=True, exist_ok=True)
    path, source = top.joinpath("a", *out), top.joinpath("a", *read)
    real, other = os.path.realpath(path), os.path.realpath(source)
    inside = other == real or other.startswith(real.rstrip("/") + "/")
    within = model and real.startswith(other + "/")
    current = os.path.realpath(os.curdir)
    around = current == real or current.startswith(real.rstrip("/") + "/")
    try:
        check_out(path, {"the model" if model else "the data": source})
    except UserError:
        assert inside or within or around
    else:
        assert not (inside or within or around)


@pytest.mark.parametrize("option", ["--junit", "--json", "--html", "--markdown"])
@pytest.mark.parametrize("place", ["file", "link", "folder", "loop", "fifo", "empty", "run"])
def test_a_gates_file_takes_no_place_but_its_own(family, tmp_path, option, place, capsys):
    (tmp_path / "mine").write_text("{}")
    path = tmp_path / place
    if place == "file":
        path.write_text("mine")
    elif place == "empty":
        path.write_text("")
    elif place == "link":
        path.symlink_to(tmp_path / "mine")
    elif place == "folder":
        path.mkdir()
    elif place == "loop":
        path.symlink_to(path)
    elif place == "fifo":
        os.mkfifo(path)
    else:
        path = family / "project/runs/dense/results.json"
    gate = ["gate", *(str(family / "project/runs" / name) for name in ("dense", "gptq4"))]
    before = held(tmp_path, family)
    assert run([*gate, option, str(path)]) == 2
    assert held(tmp_path, family) == before
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("llmc: ")
    fresh = tmp_path / "new/file"
    for _ in range(2):  # its own file it replaces
        assert run([*gate, option, str(fresh)]) in (0, 1, 3)
    assert fresh.stat().st_size > 100
    assert run([*gate, "--junit", str(tmp_path / "x"), "--json", str(tmp_path / "x")]) == 2


def test_a_baseline_takes_no_place_but_a_baselines(family, tmp_path, capsys):
    save = ["baseline", "save", "prod", str(family / "project/runs/dense"), "--folder", str(tmp_path)]
    (tmp_path / "prod.json").write_text('{"mine": 1}')
    for more in ([], ["--overwrite"]):
        assert run([*save, *more]) == 2
        assert (tmp_path / "prod.json").read_text() == '{"mine": 1}'
    (tmp_path / "prod.json").unlink()
    (tmp_path / "prod.json").symlink_to(tmp_path / "target")
    for more in ([], ["--overwrite"]):
        assert run([*save, *more]) == 2 and not (tmp_path / "target").exists()
    (tmp_path / "prod.json").unlink()
    assert run(save) == 0 and run([*save, "--overwrite"]) == 0
