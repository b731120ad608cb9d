"""`llmc verify`: a whole folder is 0, a damaged one 1 with the file named, anything else 2."""

import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmc import cli
from llmc.checksums import described, facts_of, sealed
from llmc.compress.run import compress
from llmc.models.tiny import save_tiny
from llmc.report.page import PageOptions
from llmc.report.write import write_report
from tests import corrupting
from tests.compress.jobs import job, quiet
from tests.report.made_up_runs import write_family

FORMS = {
    "plain": {},
    "packed": {"method": "gptq", "settings": {"bits": 4, "group_size": 32}, "max_shard_bytes": 60_000},
    "factors": {"method": "svd", "settings": {"rank_ratio": 0.5}, "format": "factors"},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of each kind that llmc finishes."""
    place = tmp_path_factory.mktemp("folders")
    save_tiny("llama", place / "dense", num_hidden_layers=2)
    for name, options in FORMS.items():
        compress(job(place, name, **options), quiet)
    from llmc.jobs.compare import judged

    dense, others = write_family(place / "family", n=12)
    names = [path.relative_to(dense).as_posix() for path in dense.rglob("*.json*") if path.name != "manifest.json"]
    manifest = json.loads((dense / "manifest.json").read_text())
    (dense / "manifest.json").write_text(json.dumps(sealed({**manifest, "files": described(dense, names)})))
    shutil.copytree(dense, place / "run")
    write_report(judged(dense, others, None, command=["llmc"]), place / "report", PageOptions(), overwrite=False)
    (place / "all/models").mkdir(parents=True)
    (place / "all/runs").mkdir()
    shutil.copytree(place / "packed", place / "all/models/packed")
    shutil.copytree(place / "run", place / "all/runs/dense")
    shutil.copytree(place / "report", place / "all/report")
    return place


def verify(folder, capsys):
    code = cli.run(["verify", str(folder), "--json"])
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if code in (0, 1) else shown.err


@pytest.mark.parametrize("name", [*FORMS, "run", "report", "all"])
def test_a_whole_folder_is_0_and_every_change_is_1(name, folders, tmp_path, capsys):
    code, found = verify(folders / name, capsys)
    assert code == 0 and found["whole"] and all(check["right"] for check in found["checks"])
    unsealed = {"report.html", "report.md", "comparison.json"}  # looked at, with no checksum to hold against
    files = sorted(path for path in (folders / name).rglob("*") if path.is_file() and not path.name.startswith("."))
    rng = random.Random(name)
    for path in files:
        for way in (corrupting.flip, corrupting.truncate, corrupting.remove):
            if path.name in unsealed and way is not corrupting.remove:
                continue
            broken = tmp_path / "broken"
            shutil.copytree(folders / name, broken)
            file = broken / path.relative_to(folders / name)
            before = file.read_bytes()
            way(file, rng)
            if file.exists() and file.read_bytes() == before:
                continue
            code, found = verify(broken, capsys)
            marks = {"llmc_manifest.json", "manifest.json"}  # without it a folder is of no kind
            lost = way is corrupting.remove and path.name in marks and name != "all"
            assert code == (2 if lost else 1), (path.name, way.__name__, found)
            if code == 1:
                assert not found["whole"] and any(not check["right"] for check in found["checks"])
            shutil.rmtree(broken)


def rewritten(folder, change):
    """Changes the tensors of a folder and seals it anew, so that no checksum tells."""
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})
    path = folder / "llmc_manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][file.name] = dict(facts_of(file)._asdict())
    path.write_text(json.dumps(sealed(manifest)))


FIRST = "model.layers.0.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda t: {("other" if n == FIRST else n): v for n, v in t.items()}, "keys"),
        (lambda t: {n: v for n, v in t.items() if n != FIRST}, "keys"),
        (lambda t: {**t, "model.extra.weight": torch.ones(2)}, "keys"),
        (lambda t: {**t, FIRST: t[FIRST][:-1].clone()}, "shapes"),
        (lambda t: {n: v.to(torch.float16) for n, v in t.items()}, "dtypes"),
    ],
)
def test_what_checksums_cannot_tell_is_told_by_the_tensors(change, wrong, folders, tmp_path, capsys):
    shutil.copytree(folders / "plain", tmp_path / "model")
    rewritten(tmp_path / "model", change)
    code, found = verify(tmp_path / "model", capsys)
    assert code == 1 and wrong in {check["what"] for check in found["checks"] if not check["right"]}


def test_weights_that_nobody_listed_are_found(folders, tmp_path, capsys):
    shutil.copytree(folders / "packed", tmp_path / "model")
    save_file({"x": torch.ones(1)}, tmp_path / "model/model.safetensors")
    code, found = verify(tmp_path / "model", capsys)
    assert code == 1 and "model.safetensors" in {check["what"] for check in found["checks"] if not check["right"]}


def test_what_is_no_finished_folder_is_one_sentence(folders, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    shutil.copytree(folders / "run", tmp_path / "old")
    manifest = json.loads((tmp_path / "old/manifest.json").read_text())
    (tmp_path / "old/manifest.json").write_text(
        json.dumps({k: v for k, v in manifest.items() if k not in ("seal", "files")})
    )
    for name, said in (("empty", "no folder that llmc finished"), ("none", "no directory"), ("old", "no checksums")):
        code, err = verify(tmp_path / name, capsys)
        assert code == 2 and said in err and err.count("\n") == 1


def test_a_person_reads_a_line_for_each_check(folders, capsys):
    assert cli.run(["verify", str(folders / "packed")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].endswith("compressed checkpoint, whole") and all(line.startswith("ok ") for line in lines[:-1])
