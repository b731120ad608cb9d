"""A compression that was killed, and whose files were then damaged, ends in the same bytes or is refused."""

import logging
import shutil
from collections import Counter

import pytest

from llmc.checked_lines import read_lines
from llmc.compress import finished
from llmc.compress.check_folder import check_checkpoint
from llmc.compress.run import compress
from llmc.compress.walk.writer import WORK
from llmc.errors import UserError
from llmc.models.tiny import save_tiny
from tests.compress.jobs import job, quiet
from tests.corrupting import FOLDERS, TRIALS, contents, damage, killed, outcome, trials, writes

logger = logging.getLogger(__name__)
SHARDED = {"method": "gptq", "settings": {"bits": 4, "group_size": 32}, "max_shard_bytes": 60_000}
KINDS = {
    "calibrated": SHARDED,
    "rounded": {"method": "rtn", "settings": {"bits": 4, "group_size": 32}, "calibration": None},
    "unchecked": {**SHARDED, "check": False},
}
MANIFEST = "llmc_manifest.json"
"""Holds times, so that only its seal is checked."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A dense model, and for each kind of job what it makes undisturbed and how many writes it takes."""
    place = tmp_path_factory.mktemp("whole")
    save_tiny("llama", place / "dense", num_hidden_layers=3)
    (place / "dense/tokenizer_config.json").write_text('{"model_max_length": 64}')
    made = {}
    for kind, options in KINDS.items():
        n_writes = writes(lambda kind=kind, options=options: compress(job(place, kind, **options), quiet))
        made[kind] = contents(place / kind, without=[MANIFEST, *FOLDERS]), n_writes
    return place, made


@pytest.mark.parametrize("kind", KINDS)
def test_damage_after_a_kill_never_gives_other_bytes(kind, whole, tmp_path):
    place, made = whole
    (tmp_path / "dense").symlink_to(place / "dense")
    expected, n_writes = made[kind]
    counted = Counter()
    for trial, rng in trials(kind):
        out = f"{kind}-{trial}"
        at = rng.randrange(2, n_writes + 6)
        lived = killed(lambda out=out: compress(job(tmp_path, out, **KINDS[kind]), quiet), at)
        done = [damage(tmp_path / out, rng) for _ in range(rng.choice([1, 1, 2, 3]))]
        said = f"trial {trial}, {'finished' if lived else f'killed at {at}'}, {done}"
        again = job(tmp_path, out, resume=True, verify=True, **KINDS[kind])
        _, refused = outcome(lambda again=again: compress(again, quiet))
        counted["finished" if lived else "killed", "refused" if refused else "same"] += 1
        if refused is None:
            assert contents(tmp_path / out, without=[MANIFEST, *FOLDERS]) == expected, said
            assert all(finding.right for finding in check_checkpoint(tmp_path / out)), said
        shutil.rmtree(tmp_path / out)
    logger.info("%s: %s", kind, dict(counted))
    assert counted["killed", "same"] > TRIALS // 4


def interrupted(tmp_path, at, **options):
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=3)
    assert not killed(lambda: compress(job(tmp_path, **SHARDED, **options), quiet), at)


def test_what_changes_a_byte_is_named_when_it_changed(tmp_path, monkeypatch):
    interrupted(tmp_path, 12)
    again = job(tmp_path, resume=True, **SHARDED)
    assert read_lines(tmp_path / "out" / WORK / "journal.jsonl").texts, "it was killed in the middle"
    before = contents(tmp_path / "out", without=FOLDERS)

    def refused(said, **options):
        with pytest.raises(UserError, match=f"another {said}"):
            compress(job(tmp_path, resume=True, **{**SHARDED, **options}), quiet)
        assert contents(tmp_path / "out", without=FOLDERS) == before

    refused(r"--max-shard-gb", max_shard_bytes=80_000)
    config = tmp_path / "dense/config.json"
    text = config.read_text()
    config.write_text(text.replace("}", ', "rope_theta": 500000.0}', 1) if "rope_theta" not in text else
                      text.replace('"rope_theta": 1', '"rope_theta": 2'))  # fmt: skip
    refused("config.json")
    config.write_text(text)
    for name in ("tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        file = tmp_path / "dense" / name
        old = file.read_bytes() if file.exists() else None
        file.write_text("{}" if name.endswith("json") else "{{ messages }}")
        refused(name)
        file.unlink() if old is None else file.write_bytes(old)
    for part, name, value in (
        ("versions", "llmc version", "9.9"), ("versions", "torch version", "1.0"),
        ("arithmetic", "number of threads", 77), ("arithmetic", "instructions", "none"),
    ):  # fmt: skip
        told = getattr(finished, part)("cpu") if part == "arithmetic" else finished.versions()
        with monkeypatch.context() as changed:
            changed.setattr(finished, part, lambda *_, told=told, name=name, value=value: {**told, name: value})
            refused(rf"{name} \(")
    with monkeypatch.context() as changed:
        changed.setattr(finished, "code_sha256", lambda parts: "0" * 64)
        refused("code of llmc")
    compress(again, quiet)


def test_an_unfinished_run_of_before_checksums_is_refused(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    (tmp_path / "out" / WORK / "parts").mkdir(parents=True)
    (tmp_path / "out" / WORK / "journal.json").write_text('{"n_done": 1}')
    with pytest.raises(UserError, match=r"(older llmc|half-made)"):
        compress(job(tmp_path, resume=True), quiet)
    assert (tmp_path / "out" / WORK / "journal.json").exists()


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "model.safetensors.index.json", "shard"])
def test_a_finished_folder_gets_back_what_is_missing(name, tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense", num_hidden_layers=3)
    (tmp_path / "dense/generation_config.json").write_text('{"eos_token_id": 2}')
    compress(job(tmp_path, **SHARDED), quiet)
    before = contents(tmp_path / "out", without=[MANIFEST, *FOLDERS])
    shard = name == "shard"
    gone = min(path for path in (tmp_path / "out").glob("*.safetensors")) if shard else tmp_path / "out" / name
    gone.unlink()
    if not shard:  # what is small is put back without any work on the weights
        monkeypatch.setattr("llmc.compress.run.Walk", None)
    compress(job(tmp_path, resume=True, **SHARDED), quiet)
    assert contents(tmp_path / "out", without=[MANIFEST, *FOLDERS]) == before
    assert all(finding.right for finding in check_checkpoint(tmp_path / "out"))


def test_only_verify_reads_what_kept_its_size(tmp_path):
    save_tiny("llama", tmp_path / "dense")
    compress(job(tmp_path), quiet)
    shard = tmp_path / "out/model.safetensors"
    good = shard.read_bytes()
    bad = bytearray(good)
    bad[-1] ^= 1
    shard.write_bytes(bad)
    compress(job(tmp_path, resume=True), quiet)
    assert shard.read_bytes() == bad and not all(finding.right for finding in check_checkpoint(tmp_path / "out"))
    compress(job(tmp_path, resume=True, verify=True), quiet)
    assert shard.read_bytes() == good
