"""The bench for a GPU, tiny and on a CPU: what it writes is read, and nothing wrong is timed."""

import json

import pytest
import torch

from bench import gpu_baselines, gpu_fewer, gpu_gates
from bench.gpu_baselines import baselines, symmetric
from bench.gpu_session import Session
from llmc.kernels import sparse_ops, tuned_tiles
from llmc.kernels.tuned_tiles import read, tuned


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path, minutes=10, dry=True)


def lines(session):
    return [json.loads(line) for line in session.path.read_text().splitlines()]


def test_the_tiles_that_it_writes_are_those_that_a_launch_takes(session, monkeypatch):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    from bench.gpu_tune import FILE, tune

    tune(session, [(128, 256)])
    path = session.out / FILE
    places = {(place.bits, place.columns): tiles for place, tiles in read(str(path)).items()}
    assert set(places) == {(4, 8), (3, 32)}
    monkeypatch.setenv(tuned_tiles.VARIABLE, str(path))
    assert tuned(torch.device("cpu"), 128, 256, 4, 8) == places[4, 8]
    timed = [line for line in lines(session) if line["block"] == "tune"]
    for (bits, columns), tiles in places.items():
        of_this = [x for x in timed if x["bits"] == bits and x["tiles"]["columns"] == columns]
        assert min(of_this, key=lambda x: x["median"])["tiles"] == vars(tiles)


def test_tiles_with_another_result_are_not_taken(session, monkeypatch):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    from bench import gpu_tune

    matmul = gpu_tune.wq_launch.matmul
    wrong = gpu_tune.Tiles(rows=128, columns=8, split=1, stages=3)
    monkeypatch.setattr(
        gpu_tune.wq_launch, "matmul", lambda *a, tiles, **k: matmul(*a, tiles=tiles, **k) * (2 if tiles == wrong else 1)
    )
    chosen = gpu_tune._fastest(session, 128, 256, 4, 1)
    assert chosen != wrong and [x["tiles"] for x in lines(session) if "problem" in x] == [vars(wrong)]


def test_baselines_are_compared_before_they_are_timed(monkeypatch):
    weight = symmetric(64, 256, "cpu")
    found = baselines(weight)
    x = torch.randn(2, 256).bfloat16()
    exact = x.float() @ weight.dequantised().T
    assert (found["tinygemm"](x).float() - exact).norm() <= 1e-2 * exact.norm()
    assert isinstance(found["marlin"], str), "vLLM's operator needs a GPU"
    monkeypatch.setattr(gpu_baselines, "_tinygemm", lambda weight: lambda x: 2 * exact[:1].expand(3, -1))
    assert "off by" in baselines(weight)["tinygemm"]


def test_sparse_two_of_four_and_low_rank_run_on_a_cpu_and_say_what_stands_in(session):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    gpu_fewer.sparse(session)
    gpu_fewer.two_of_four(session)
    gpu_fewer.low_rank(session)
    found = lines(session)
    assert {line.get("stand_in") for line in found if line["block"] == "2:4"} == {"dense"}
    assert [line["kernel"] for line in found if line["block"] == "low rank"] == ["bf16 pair", "W4 pair"]
    assert [line["kernel"] for line in found if line["block"] == "2:4"] == ["2:4", "gaps"] * 2
    both = [(line["m"], line["kernel"]) for line in found if line["block"] == "sparse"]
    assert both == [(1, "written out"), (1, "by gaps"), (4, "written out"), (4, "by gaps")]
    assert all(line["dry"] for line in found) and not session.failed


def test_no_gate_passes_over_a_product_that_is_no_number():
    exact = torch.ones(2, 3, dtype=torch.float64)
    assert gpu_gates.excess(exact.half(), exact) <= 0
    for broken in (float("nan"), float("inf")):
        assert max(0.0, gpu_gates.excess(exact.half() * broken, exact)) == float("inf")


@pytest.mark.parametrize("gate", [gpu_gates.gap_layers, gpu_gates.two_of_four_layers])
def test_gates_of_sparse_layers_see_a_product_that_forgets_a_column(monkeypatch, gate):
    assert 0 <= gate("cpu", True, False).error <= gate("cpu", True, False).bound
    for name in ("gap_matmul", "two_of_four_matmul"):
        product = getattr(sparse_ops, name)

        def forgets(x, *others, product=product):
            return product(torch.cat([x[:, :-1], 0 * x[:, -1:]], 1), *others)

        monkeypatch.setattr(sparse_ops, name, forgets)
    found = gate("cpu", True, False)
    assert found.error > found.bound
