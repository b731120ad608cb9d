"""Benches: the order of turns, the sums, and what a measured pass really does; no test looks at how long it took."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from llmc.compress.recipe import build
from llmc.errors import UserError
from llmc.evaluate.speed import bench as bench_module
from llmc.evaluate.speed import energy
from llmc.evaluate.speed.bench import bench, run_record
from llmc.evaluate.speed.speed import Pass, SpeedSettings, measure
from llmc.evaluate.speed.speed_process import Held, Measured, Subject
from llmc.models.layout import find_blocks, matrices
from llmc.models.memory import n_parameters, tensor_bytes
from llmc.models.tiny import save_tiny, tiny_model
from tests.compress.test_families import run as run_compress
from tests.evaluate import tiny


class Clock:
    """Each look at it is the next of some given times."""

    def __init__(self, *times):
        self.times = list(times)

    def __call__(self):
        return self.times.pop(0)


def test_rates_are_tokens_over_their_own_seconds():
    settings = SpeedSettings(prompt_tokens=10, new_tokens=4)
    found = measure(tiny.model("llama"), 3, settings, Clock(100.0, 102.0, 105.0))
    assert found.prefill_tokens_per_s == 3 * 10 / 2 and found.decode_tokens_per_s == 3 * 4 / 3


def test_a_pass_reads_the_prompt_once_and_then_a_token_at_a_time(monkeypatch):
    model, shapes = tiny.model("llama"), []
    forward = model.forward

    def watched(**how):
        past = how.get("past_key_values")
        shapes.append((tuple(how["input_ids"].shape), 0 if past is None else past.get_seq_length()))
        return forward(**how)

    watched.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(model, "forward", watched)
    measure(model, 2, SpeedSettings(prompt_tokens=6, new_tokens=3))
    assert shapes == [((2, 6), 0), ((2, 1), 6), ((2, 1), 7), ((2, 1), 8)]


class Pretend:
    """A model that answers with numbers that say which it is, and keeps the order in which it was asked."""

    asked: ClassVar[list] = []

    def __init__(self, subject, settings):
        self.name, self.n_loads = subject.directory.name, 0
        self.speed = {"dense": 10.0, "packed": 30.0}[self.name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.asked.append(("closed", self.name))

    def load(self):
        self.asked.append(("load", self.name))
        self.n_loads += 1
        return Held(
            load_s=float(self.n_loads),
            resident_bytes=int(self.speed),
            process_bytes=None,
            dtype="bfloat16",
            notes=("x",),
        )

    def run(self, batch):
        self.asked.append((batch, self.name))
        speed = self.speed * batch * self.n_loads
        return Pass(prefill_tokens_per_s=2 * speed, decode_tokens_per_s=speed, decode_joules_per_token=None)


@pytest.fixture
def subjects(tmp_path):
    found = []
    for name in ("dense", "packed"):
        save_tiny("llama", tmp_path / name)
        found.append(Subject(directory=tmp_path / name, device="cpu", dtype="bfloat16", kernels="fast", n_threads=1))
    return found


def test_models_take_turns_and_each_turn_begins_with_another(subjects):
    Pretend.asked = []
    told = []
    settings = SpeedSettings(batches=(1, 4), repeats=2)
    result = bench(subjects, settings, lambda *now: told.append(now), Pretend)
    one, other = [("load", "dense"), ("load", "packed")], [(1, "dense"), (1, "packed"), (4, "dense"), (4, "packed")]
    turned = [("load", "packed"), ("load", "dense"), (1, "packed"), (1, "dense"), (4, "packed"), (4, "dense")]
    assert Pretend.asked == [*one, *other, *turned, ("closed", "packed"), ("closed", "dense")]
    assert [done for done, _, _ in told] == list(range(13)) and {total for _, total, _ in told} == {12}
    dense, packed = result["models"]
    assert packed["metrics"]["decode_tokens_per_s"] == packed["metrics"]["decode_tokens_per_s_batch_1"] == [30.0, 60.0]
    assert packed["summary"]["decode_tokens_per_s_batch_4"] == {
        "median": 180.0, "least": 120.0, "most": 240.0, "ratio": 3.0, "ratio_least": 3.0, "ratio_most": 3.0,
    }  # fmt: skip
    assert dense["summary"]["load_s"]["median"] == 1.5 and dense["summary"]["resident_bytes"]["ratio"] == 1.0
    assert "process_bytes" not in dense["metrics"] and not [name for name in dense["metrics"] if "joules" in name]
    json.dumps(result, allow_nan=False)


def test_a_runs_record_is_what_budgets_read(subjects):
    from llmc.judging.budgets import Bench

    result = bench(subjects, SpeedSettings(batches=(2,), repeats=3), lambda *_: None, Pretend)
    records = [Bench.model_validate(run_record(result, i)) for i in range(2)]
    assert records[0].machine == records[1].machine == result["machine"]
    assert records[1].metrics["decode_tokens_per_s"] == [60.0, 120.0, 180.0]
    assert set(records[0].metrics) >= {"decode_tokens_per_s", "prefill_tokens_per_s", "load_s"}


def test_a_loaded_model_tells_its_bytes_and_its_warnings(tmp_path):
    model = tiny_model("llama")
    model.model.layers[0].mlp.up_proj.weight.data[:, ::2] = 0
    model.save_pretrained(tmp_path / "model")
    subject = Subject(directory=tmp_path / "model", device="cpu", dtype="float32", kernels="fast", n_threads=None)
    measured = Measured(subject, SpeedSettings(batches=(1,), prompt_tokens=5, new_tokens=2))
    for _ in range(2):
        held = measured.load()
        assert held.resident_bytes == tensor_bytes(model) and held.dtype == "float32" and held.load_s > 0
        assert len(held.notes) == 1 and "1 pruned matrices are held dense" in held.notes[0]
    assert all(
        math.isfinite(value) for value in (measured.run(2).decode_tokens_per_s, measured.run(1).prefill_tokens_per_s)
    )


@pytest.mark.parametrize("made", ["pruned", "factored"])
def test_what_is_smaller_in_memory_is_measured_smaller(tmp_path, made):
    model = save_tiny("llama", tmp_path / "dense")
    method, format = (
        (("magnitude", {"pattern": "2:4"}), "dense") if made == "pruned" else (("svd", {"rank_ratio": 0.5}), "factors")
    )
    run_compress(tmp_path / "dense", tmp_path / "small", build(*method), format=format)
    settings = SpeedSettings(batches=(1,), prompt_tokens=5, new_tokens=2)
    subject = Subject(directory=tmp_path / "small", device="cpu", dtype="float32", kernels="exact", n_threads=None)
    measured = Measured(subject, settings)
    held = measured.load()
    weights = [matrix.weight for block in find_blocks(model)[1] for matrix in matrices(block)]
    n_dense = 4 * sum(w.numel() for w in weights)
    if made == "pruned":
        n_small = n_dense * 17 // 32  # two of four values of 4 bytes, and four bits
    else:
        thin = [p for name, p in measured.model.named_parameters() if name.endswith((".left", ".right"))]
        n_small = 4 * sum(p.numel() for p in thin)
        assert 0.3 * n_dense < n_small < 0.6 * n_dense
    n_fewer = 0 if made == "pruned" else (n_dense - n_small) // 4
    assert n_parameters(measured.model) == n_parameters(model) - n_fewer
    assert held.resident_bytes == tensor_bytes(model) - n_dense + n_small
    assert measured.run(1).decode_tokens_per_s > 0 and tensor_bytes(measured.model) == held.resident_bytes


def test_a_prompt_longer_than_the_window_is_refused(tmp_path):
    save_tiny("llama", tmp_path)
    subject = Subject(directory=tmp_path, device="cpu", dtype="float32", kernels="exact", n_threads=None)
    with pytest.raises(UserError, match="window has 128"):
        Measured(subject, SpeedSettings(prompt_tokens=120, new_tokens=9)).load()


@pytest.mark.parametrize(
    "wrong", [{"batches": ()}, {"batches": (0,)}, {"batches": (2, 2)}, {"repeats": 0}, {"prompt_tokens": 0}]
)
def test_settings_without_sense_are_refused(wrong):
    with pytest.raises(UserError):
        SpeedSettings(**wrong)


def test_energy_is_what_the_packages_say_and_unknown_without_them(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    assert energy.energy_counter(torch.device("cpu"))() is None
    for number, value in enumerate((3_000_000, 500_000)):
        (tmp_path / f"intel-rapl:{number}").mkdir()
        (tmp_path / f"intel-rapl:{number}" / "energy_uj").write_text(f"{value}\n")
    (tmp_path / "intel-rapl:0:0").mkdir()  # a part of package 0, counted there already
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("9\n")
    counter = energy.energy_counter(torch.device("cpu"))
    assert counter() == 3.5
    settings = SpeedSettings(prompt_tokens=4, new_tokens=2)
    assert measure(tiny.model("llama"), 1, settings).decode_joules_per_token == 0.0
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("not a number")
    assert counter() is None and measure(tiny.model("llama"), 1, settings).decode_joules_per_token is None


def test_the_machine_is_named_by_its_processor_and_threads(monkeypatch):
    subject = SimpleNamespace(device="cpu", n_threads=3)
    assert bench_module.machine(subject).endswith(", 3 threads") and len(bench_module.machine(subject)) > 12
    monkeypatch.setattr(Path, "read_text", lambda self: (_ for _ in ()).throw(OSError()))
    assert bench_module.machine(subject).endswith(", 3 threads")
