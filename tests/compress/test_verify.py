"""The written files are read back: a value that is other than it was in memory ends the job in one sentence."""

import pytest
import torch

from llmc.compress import verify
from llmc.compress.run import compress
from llmc.compress.verify import fingerprint
from llmc.compress.walk import writer
from llmc.errors import UserError
from llmc.models.tiny import save_tiny
from tests.compress.jobs import job, quiet

GRID = {"bits": 4, "group_size": 32}


def spoil(monkeypatch, part, change):
    """Writes one part otherwise than the walk meant it."""
    put = writer.ShardWriter.put

    def wrong(self, name, tensors):
        held = {key: tensor.clone() for key, tensor in tensors.items()}
        if name == part:
            change(held)
        put(self, name, held)

    monkeypatch.setattr(writer.ShardWriter, "put", wrong)


def one_code(tensors):
    tensors["model.layers.1.mlp.up_proj.weight_packed"][0, 0] ^= 1


def one_weight(tensors):
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] += 0.5


def exchanged(tensors):
    gate, up = (f"model.layers.1.mlp.{name}_proj.weight" for name in ("gate", "up"))
    tensors[gate], tensors[up] = tensors[up], tensors[gate]


def norm(tensors):
    tensors["model.layers.1.input_layernorm.weight"] += 1e-3


def embedding(tensors):
    tensors["model.embed_tokens.weight"][7] = 0


def lost(tensors):
    del tensors["model.layers.1.input_layernorm.weight"]


CASES = {
    "a packed code": (
        "rtn",
        GRID,
        "00002-block",
        one_code,
        r"model\.layers\.1\.mlp\.up_proj\.weight is not the tensor",
    ),
    "a weight": (
        "magnitude",
        {},
        "00002-block",
        one_weight,
        r"model\.layers\.1\.mlp\.up_proj\.weight is not the tensor",
    ),
    "two exchanged": ("wanda", {}, "00002-block", exchanged, r"model\.layers\.1\.mlp\.gate_proj\.weight is not the"),
    "a norm": ("gptq", GRID, "00002-block", norm, r"model\.layers\.1\.input_layernorm\.weight is not the tensor"),
    "an embedding": ("rtn", GRID, "00000-rest", embedding, r"embed_tokens\.weight is not the tensor that was copied"),
    "nothing at all": ("rtn", GRID, "00002-block", lost, r"1 parameters would be random, .*input_layernorm"),
}


@pytest.mark.parametrize("what", CASES)
def test_what_was_written_wrong_is_found_and_leaves_no_complete_folder(tmp_path, monkeypatch, what):
    method, settings, part, change, said = CASES[what]
    save_tiny("llama", tmp_path / "dense")
    spoil(monkeypatch, part, change)
    with pytest.raises(UserError, match=said):
        compress(job(tmp_path, method=method, settings=settings), quiet)
    out = tmp_path / "out"
    assert (out / "model.safetensors").exists() and (out / ".llmc").is_dir()  # nothing is removed
    assert not (out / "config.json").exists() and not (out / "llmc_manifest.json").exists()


@pytest.mark.parametrize("method, settings", [("rtn", GRID), ("svd", {"rank_ratio": 0.5}), ("wanda", {})])
def test_outputs_are_compared_too(tmp_path, monkeypatch, method, settings):
    """With fingerprints that see nothing, a wrong tensor still shows in what its block makes of the text."""
    monkeypatch.setattr(verify, "fingerprint", lambda tensor, dtype: [0, 0])
    monkeypatch.setattr("llmc.compress.walk.walk.fingerprint", lambda tensor, dtype: [0, 0])
    save_tiny("llama", tmp_path / "dense")
    fmt = {"format": "factors"} if method == "svd" else {}
    compress(job(tmp_path, "right", method=method, settings=settings, **fmt), quiet)
    spoil(monkeypatch, "00001-block", lambda t: t["model.layers.0.post_attention_layernorm.weight"].mul_(3))
    with pytest.raises(UserError, match=r"block 0 rebuilt from the files is \S+ of its own effect away"):
        compress(job(tmp_path, method=method, settings=settings, **fmt), quiet)


def test_the_check_can_be_left_out(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    spoil(monkeypatch, "00002-block", norm)
    compress(job(tmp_path, check=False), quiet)


def test_a_failed_check_is_repeated_by_a_resume(tmp_path, monkeypatch):
    save_tiny("llama", tmp_path / "dense")
    failing = verify._Check.rest
    monkeypatch.setattr(verify._Check, "rest", lambda self, source: (_ for _ in ()).throw(UserError("not complete")))
    with pytest.raises(UserError, match="not complete"):
        compress(job(tmp_path), quiet)
    monkeypatch.setattr(verify._Check, "rest", failing)
    compress(job(tmp_path, resume=True), quiet)
    assert (tmp_path / "out/config.json").exists()


def test_a_fingerprint_sees_a_changed_value_an_exchange_and_a_sign():
    tensor = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    changed, exchanged, negated = tensor.clone(), tensor.flip(0), tensor.clone()
    changed[2, 1] += 1e-6
    negated[0, 0] *= -1
    prints = [fingerprint(t, torch.float32) for t in (tensor, changed, exchanged, negated)]
    assert len({tuple(p) for p in prints}) == 4
    assert fingerprint(tensor.bfloat16(), torch.float32) == fingerprint(tensor, torch.bfloat16)
    assert fingerprint(tensor.t(), torch.float32) != prints[0]
