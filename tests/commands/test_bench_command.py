"""`llmc bench` end to end, each model in a process of its own, and its refusals."""

import json

import pytest
import torch

from llmc.cli import run
from llmc.models.checkpoint import Checkpoint
from llmc.models.tiny import save_tiny
from tests.compress.formats.checkpoints import block_linears, round_to_nearest, write_checkpoint


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A dense checkpoint, and the same in 4 bits."""
    from llmc.compress.formats.compressed_tensors import FORMAT

    folder = tmp_path_factory.mktemp("models")
    model = save_tiny("llama", folder / "dense", dtype=torch.bfloat16)
    layers = {n: round_to_nearest(m.weight.data, group_size=32) for n, m in block_linears(model).items()}
    write_checkpoint(folder / "packed", model, FORMAT, layers)
    return folder / "dense", folder / "packed"


def made_up_run(folder, model):
    """As much of a finished run as the bench looks at."""
    folder.mkdir()
    manifest = {
        "complete": True,
        "schema": 1,
        "model": {"id": str(model), "sha256": Checkpoint(model).sha256},
        "tasks": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "results.json").write_text(json.dumps({"schema": 1, "tasks": {}}))
    return folder


SMALL = ("--batch", "1,2", "--prompt-tokens", "8", "--new-tokens", "2", "--repeats", "2", "--threads", "1")


def test_two_models_are_measured_and_written_everywhere(models, tmp_path, capsys):
    runs = [made_up_run(tmp_path / model.name, model) for model in models]
    where = ("--into", str(runs[0]), "--into", str(runs[1]), "--out", str(tmp_path / "bench.json"))
    assert run(["bench", *map(str, models), *SMALL, *where]) == 0
    shown = capsys.readouterr()
    assert ("new tokens/s, batch 2" in shown.out and "not measured" in shown.out) or "joules" in shown.out
    assert "Ratios hold within one bench only" in shown.out and "bench: 12/12 done" in shown.err
    result = json.loads((tmp_path / "bench.json").read_text())
    dense, packed = result["models"]
    assert packed["summary"]["resident_bytes"]["ratio"] < 0.8 and len(packed["metrics"]["load_s"]) == 2
    assert packed["kernels"] == "fast" and result["settings"]["batches"] == [1, 2]
    records = [json.loads((folder / "bench.json").read_text()) for folder in runs]
    assert [record["metrics"] for record in records] == [dense["metrics"], packed["metrics"]]
    assert records[0]["session"] == records[1]["session"] and records[0]["machine"] == result["machine"]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    "more, words",
    [
        (("--batch", "1,x"), "no list of numbers"),
        (("--repeats", "0"), "repeats must be at least 1"),
        (("--kernels", "fasd"), "did you mean 'fast'"),
        (("--dtype", "int4"), "unknown dtype"),
        (("--threads", "0"), "--threads"),
        (("--into", "nowhere"), "2 models and 1 runs"),
        (("--into", "nowhere", "--into", "nowhere"), "not a run directory"),
        (("--out", "."), "is a directory"),
        (("--out", "no/such/folder/bench.json"), "is no directory"),
    ],
)
def test_mistakes_are_one_sentence(models, capsys, more, words):
    assert run(["bench", *map(str, models), *more]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and "\n" not in said


def test_a_missing_model_and_a_run_of_another_model_are_refused(models, tmp_path, capsys):
    assert run(["bench", str(models[0]), str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    runs = [made_up_run(tmp_path / model.name, model) for model in reversed(models)]
    assert run(["bench", *map(str, models), "--into", str(runs[0]), "--into", str(runs[1])]) == 2
    assert "whose weights are not those of" in capsys.readouterr().err


def test_a_model_whose_process_ends_is_named(models, monkeypatch, capsys):
    from llmc.evaluate.speed.speed import SpeedSettings
    from llmc.evaluate.speed.speed_process import ModelProcess, Subject

    subject = Subject(directory=models[0], device="cpu", dtype="float32", kernels="fast", n_threads=1)
    process = ModelProcess(subject, SpeedSettings())
    process._process.kill()
    with process, pytest.raises(Exception, match="ended with code -9"):
        process.load()


def test_a_window_that_is_too_short_is_told_from_the_other_process(models, capsys):
    assert run(["bench", str(models[0]), "--repeats", "1", "--batch", "1", "--threads", "1"]) == 2
    assert "512 + 32 tokens don't fit" in capsys.readouterr().err
