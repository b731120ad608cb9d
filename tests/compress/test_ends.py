"""How a compression ends: killed, resumed, refused, out of space; and nothing is lost or half-written."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from llmc.compress.recipe import build
from llmc.compress.run import compress
from llmc.compress.walk import journal, writer
from llmc.data.calibration import Calibration
from llmc.errors import UserError
from llmc.models.tiny import save_tiny
from tests.compress.jobs import TOKENS, job, quiet, weights


@pytest.mark.parametrize("moment", ["put", "block_done", "join"])
def test_an_interruption_at_any_step_resumes_to_the_same_bytes(tmp_path, monkeypatch, moment):
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=4)
    settings = {"bits": 4, "group_size": 32}
    compress(job(tmp_path, "whole", method="gptq", settings=settings, max_shard_bytes=60_000), quiet)
    owner = journal.Journal if moment == "block_done" else writer.ShardWriter
    original, calls = getattr(owner, moment), []

    def fail_late(self, *args):
        calls.append(1)
        if len(calls) == (1 if moment == "join" else 3):
            raise KeyboardInterrupt
        return original(self, *args)

    monkeypatch.setattr(owner, moment, fail_late)
    broken = job(tmp_path, "broken", method="gptq", settings=settings, max_shard_bytes=60_000)
    with pytest.raises(KeyboardInterrupt):
        compress(broken, quiet)
    assert not (tmp_path / "broken/config.json").exists()  # nobody can take it for a model
    monkeypatch.setattr(owner, moment, original)
    broken.resume = True
    compress(broken, quiet)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert not (tmp_path / "broken/.llmc").exists()


def test_kill_9_in_the_middle_resumes_to_the_same_bytes(tmp_path):
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=6)
    save_text(tmp_path)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert llmc(tmp_path, "compress", whole).wait() == 0
    process = llmc(tmp_path, "compress", broken)
    while not (broken / ".llmc/parts/00003-block.safetensors").exists():
        assert process.poll() is None or process.returncode == 0
        if process.poll() is not None:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "llmc_manifest.json").exists()
    assert llmc(tmp_path, "compress", broken, "--resume").wait() == 0
    assert weights(broken) == weights(whole)


def save_text(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"w{i}": i for i in range(128)}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="w2").save_pretrained(tmp_path / "dense")
    words = torch.randint(3, 128, (4000,), generator=torch.Generator().manual_seed(1))
    (tmp_path / "text.txt").write_text(" ".join(f"w{i}" for i in words))


def llmc(tmp_path, command, out, *more):
    arguments = [sys.executable, "-m", "llmc", command, str(tmp_path / "dense"), "--out", str(out)]
    arguments += ["--method", "gptq", "--group-size", "32", "--calibration", str(tmp_path / "text.txt")]
    arguments += ["--samples", "16", "--seq-len", "64", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    return subprocess.Popen(arguments, cwd=root, env=environment, stdout=subprocess.DEVNULL)


def test_resuming_another_run_is_refused(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    monkeypatch.setattr(writer.ShardWriter, "join", lambda self, kept: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compress(job(tmp_path), quiet)
    with pytest.raises(UserError, match="another stages"):
        compress(job(tmp_path, settings={"sparsity": 0.6}, resume=True), quiet)
    with pytest.raises(UserError, match=r"unfinished run.*--resume"):
        compress(job(tmp_path), quiet)


def test_a_full_disk_is_one_sentence_and_leaves_no_model(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    calls = []

    def full(tensors, path, metadata):
        calls.append(path)
        if len(calls) == 3:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save_file(tensors, path, metadata)

    monkeypatch.setattr(writer, "save_file", full)
    with pytest.raises(UserError, match=r"no space left.*--resume"):
        compress(job(tmp_path), quiet)
    assert not (tmp_path / "out/config.json").exists()
    monkeypatch.setattr(writer, "save_file", save_file)
    compress(job(tmp_path, resume=True), quiet)
    compress(job(tmp_path, "fresh"), quiet)
    assert weights(tmp_path / "out") == weights(tmp_path / "fresh")


def test_a_directory_without_write_permission_is_one_sentence(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")

    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="can't be written to"):
        compress(job(tmp_path), quiet)


def test_too_little_space_is_said_before_any_work(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    monkeypatch.setattr("llmc.files.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(UserError, match=r"has 0\.0 MB free and about 0\.\d MB are needed"):
        compress(job(tmp_path), quiet)
    assert not (tmp_path / "out").exists()


def test_nothing_of_the_users_is_ever_overwritten(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("years of work")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError):
            compress(job(tmp_path, **options), quiet)
    assert (tmp_path / "out/thesis.tex").read_text() == "years of work"
    with pytest.raises(UserError, match="the model itself"):
        compress(job(tmp_path, "dense"), quiet)


def test_a_second_run_wants_overwrite_and_a_resume_of_a_finished_run_does_nothing(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    first = compress(job(tmp_path), quiet)
    with pytest.raises(UserError, match="--overwrite"):
        compress(job(tmp_path), quiet)
    assert compress(job(tmp_path, resume=True), quiet) == first
    second = compress(job(tmp_path, settings={"sparsity": 0.25}, overwrite=True), quiet)
    assert second.totals.compressed_sparsity == pytest.approx(0.25, abs=0.01)


OTHERS = {
    "method or settings": {"settings": {"sparsity": 0.25}},
    "calibration": {"calibration": Calibration(TOKENS[:3], "random", None)},
    "dtype": {"dtype": torch.bfloat16},
    "format": {"method": "rtn", "settings": {"bits": 4, "group_size": 32}, "format": "dense"},
    "model": {},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_finished_run_of_another_command_is_not_taken_for_this_one(tmp_path, what):
    save_tiny("llama", tmp_path / "dense")
    same = {key: value for key, value in OTHERS[what].items() if what == "format" and key != "format"}
    compress(job(tmp_path, **same), quiet)
    before = weights(tmp_path / "out")
    if what == "model":
        save_tiny("llama", tmp_path / "dense", seed=1)
    with pytest.raises(UserError, match=rf"finished, and was made with another {what}.*; .*--overwrite"):
        compress(job(tmp_path, resume=True, **OTHERS[what]), quiet)
    assert weights(tmp_path / "out") == before


def test_overwrite_spares_what_llmc_did_not_write(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    compress(job(tmp_path), quiet)
    (tmp_path / "out/notes.txt").write_text("measured on Tuesday")
    with pytest.raises(UserError, match=r"notes\.txt as well, which llmc did not write"):
        compress(job(tmp_path, overwrite=True), quiet)
    (tmp_path / "out/notes.txt").unlink()
    (tmp_path / "out/config.json.tmp").write_text("{")
    with pytest.raises(UserError, match=r"config\.json\.tmp as well, which llmc did not write"):
        compress(job(tmp_path, overwrite=True), quiet)
    (tmp_path / "out/config.json.tmp").unlink()
    (tmp_path / f"out/.config.json.{'0' * 16}.llmc-tmp").write_text("{")  # what a kill leaves is ours
    compress(job(tmp_path, overwrite=True), quiet)
    shutil.move(tmp_path / "dense", tmp_path / "out/dense")
    inside = job(tmp_path, overwrite=True)
    inside.model = tmp_path / "out/dense"
    with pytest.raises(UserError, match="out holds the model"):
        compress(inside, quiet)
    assert (tmp_path / "out/dense/config.json").exists()


def test_too_little_space_leaves_the_result_that_was_to_be_replaced(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    compress(job(tmp_path), quiet)
    before = weights(tmp_path / "out")
    monkeypatch.setattr("llmc.files.shutil.disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, -(10**9)))
    with pytest.raises(UserError, match="MB are needed"):
        compress(job(tmp_path, overwrite=True), quiet)
    assert weights(tmp_path / "out") == before


def test_a_path_through_a_file_is_one_sentence(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"can't be made: .* is no directory; give another --out"):
        compress(job(tmp_path, "file/out"), quiet)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (("gptq", "wanda"), "wanda after gptq leaves weights that no packed format holds; put wanda before gptq"),
        (("wanda", "svd"), "svd can't keep the zeros that wanda leaves; put svd before wanda"),
    ],
)
def test_stages_in_an_order_that_cannot_be_stored_are_refused_before_the_work(tmp_path, methods, said):
    save_tiny("llama", tmp_path / "dense")
    stages = tuple(build(name, {"group_size": 32} if name == "gptq" else {}) for name in methods)
    with pytest.raises(UserError) as caught:
        compress(job(tmp_path, stages=stages), quiet)
    assert str(caught.value).startswith(said) and not (tmp_path / "out").exists()


def test_pruning_after_rounding_can_be_had_dense(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    stages = (build("gptq", {"group_size": 32}), build("wanda", {}))
    with pytest.raises(UserError, match="is not quantised"):
        compress(job(tmp_path, stages=stages, format="compressed-tensors"), quiet)
    assert not (tmp_path / "out").exists()
    account = compress(job(tmp_path, stages=stages, format="dense"), quiet)
    assert account.totals.compressed_sparsity >= 0.5
