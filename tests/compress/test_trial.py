"""A small copy is tried first: what its files get wrong is refused with block and number, what went well remembered."""

import pytest
import torch
from transformers import AutoConfig

from llmc.compress import trial
from llmc.compress.plan import plan
from llmc.compress.recipe import build
from llmc.compress.run import compress, compress_untried
from llmc.errors import UserError
from llmc.models.experts import SplitExperts
from llmc.models.tiny import save_tiny
from tests.compress.jobs import job, quiet

STAGES = (build("wanda", {"sparsity": 0.5}),)


def run(small):
    return compress_untried(small, *plan(small))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_trial_that_goes_well_is_remembered_and_junk_is_not_believed(tmp_path):
    calls = []
    config = AutoConfig.for_model("llama")

    def counted(small):
        calls.append(small)
        return run(small)

    assert trial.try_small_copy(config, STAGES, counted) is None
    assert trial.try_small_copy(config, STAGES, counted) is None
    assert len(calls) == 1
    (note,) = (tmp_path / "cache/llmc/tried").iterdir()
    for junk in ("", "{", "[]", '{"tried": 1}', "\x00"):
        note.write_text(junk)
        assert trial.try_small_copy(config, STAGES, counted) is None
    assert len(calls) == 6
    assert trial.try_small_copy(config, (build("magnitude", {}),), counted) is None
    assert len(calls) == 7  # another method is another trial


def test_trial_finds_experts_that_are_joined_wrongly_and_names_the_block(tmp_path, monkeypatch):
    right = SplitExperts.joined
    monkeypatch.setattr(SplitExperts, "joined", lambda self: {k: v.roll(1, 0) for k, v in right(self).items()})
    save_tiny("mixtral", tmp_path / "dense")
    with pytest.raises(
        UserError, match=r"MixtralForCausalLM: block 0 of a small copy gives an output that is \d+\.\d% off"
    ):
        compress(job(tmp_path), quiet)
    assert not (tmp_path / "out").exists()  # nothing is written before


def test_trial_of_what_no_copy_can_be_made_of_is_a_warning(monkeypatch):
    def fails(config):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(trial, "small_model", fails)
    assert "no such thing" in trial.try_small_copy(AutoConfig.for_model("llama"), STAGES, run)


def test_trial_without_a_place_to_remember_it(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert trial.try_small_copy(AutoConfig.for_model("llama"), STAGES, run) is None
    assert torch.is_grad_enabled()
