"""Timed tiles from a file: used on the device and for the product that they were timed on, else the rule's."""

import json

import pytest
import torch

from llmc.errors import UserError
from llmc.kernels import tuned_tiles, wq_launch
from llmc.kernels.tiles import Tiles, candidates, columns_for, tiles_for
from llmc.kernels.tuned_tiles import FORMAT, Place, read, tuned, write
from tests.kernels.test_wq import check, random_weight, random_x

CPU = torch.device("cpu")
PLACE = Place(device="cpu", triton=tuned_tiles.triton_version(), n_out=128, n_in=1280, bits=4, columns=8)
CHOSEN = Tiles(rows=64, columns=8, split=4, stages=4)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "tiles.json"
    monkeypatch.setenv("LLMC_GPU_TILES", str(path))
    return path


def test_what_is_written_is_read_and_used_for_that_product_only(file):
    write(file, {PLACE: CHOSEN})
    assert read(str(file)) == {PLACE: CHOSEN}
    assert tuned(CPU, 128, 1280, 4, 8) == CHOSEN
    for other in ((127, 1280, 4, 8), (128, 1024, 4, 8), (128, 1280, 3, 8), (128, 1280, 4, 16)):
        assert tuned(CPU, *other) is None


def test_tiles_of_another_device_or_triton_are_not_used(file, monkeypatch):
    write(file, {PLACE: CHOSEN})
    monkeypatch.setattr(tuned_tiles, "triton_version", lambda: "0.1")
    assert tuned(CPU, 128, 1280, 4, 8) is None
    monkeypatch.undo()
    monkeypatch.setenv("LLMC_GPU_TILES", str(file))
    monkeypatch.setattr(tuned_tiles, "device_name", lambda device: "another")
    assert tuned(CPU, 128, 1280, 4, 8) is None


def test_the_launch_takes_them_and_computes_the_same(file, monkeypatch):
    pytest.importorskip("triton", reason="the interpreter comes with triton")
    weight, x = random_weight(128, 1280, 4), random_x(5, 1280)
    used = []
    fused = wq_launch._fused
    monkeypatch.setattr(wq_launch, "_fused", lambda x, w, tiles, magic: used.append(tiles) or fused(x, w, tiles, magic))
    write(file, {PLACE: CHOSEN})
    check(x, weight)
    check(random_x(9, 1280), weight)
    monkeypatch.delenv("LLMC_GPU_TILES")
    check(x, weight)
    assert used == [CHOSEN, tiles_for(128, 5, 9), tiles_for(128, 5, 5)]


GOOD = {
    "device": "cpu", "triton": "3", "n_out": 8, "n_in": 8, "bits": 4, "rows": 64, "columns": 8, "split": 1, "stages": 3
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ("{", "can't be read"),
        ("[]", "no file of the format"),
        (json.dumps({"format": "other", "tiles": []}), "no file of the format"),
        (json.dumps({"format": FORMAT, "tiles": [3]}), "has 3 as entry 1"),
        *(
            (json.dumps({"format": FORMAT, "tiles": [GOOD, {**GOOD, **wrong}]}), words)
            for wrong, words in (
                ({"device": 1}, "no device in entry 2"),
                ({"n_in": 0}, "n_in 0 in entry 2"),
                ({"rows": 96}, "rows 96 in entry 2, which must be 64 or 128"),
                ({"split": "4"}, "split '4' in entry 2, which must be 1, 2, 4, 8 or 16"),
                ({"stages": True}, "stages True"),
                ({"columns": None}, "columns None"),
            )
        ),
    ],
)
def test_a_file_with_a_mistake_is_refused_in_one_sentence_with_a_way_out(file, said, complaint):
    file.write_text(said)
    with pytest.raises(UserError, match=complaint) as refused:
        tuned(CPU, 8, 8, 4, 8)
    assert str(file) in str(refused.value) and "unset LLMC_GPU_TILES" in refused.value.hint


def test_a_file_that_is_not_there_is_refused(file):
    with pytest.raises(UserError, match="can't be read"):
        tuned(CPU, 8, 8, 4, 8)


def test_a_file_in_the_package_is_read_where_the_variable_is_not_set(tmp_path, monkeypatch):
    monkeypatch.delenv("LLMC_GPU_TILES", raising=False)
    monkeypatch.setattr(tuned_tiles, "PACKAGED", tmp_path / "gpu_tiles.json")
    assert tuned(CPU, 128, 1280, 4, 8) is None
    write(tmp_path / "gpu_tiles.json", {PLACE: CHOSEN})
    assert tuned(CPU, 128, 1280, 4, 8) == CHOSEN


def test_candidates_fit_the_rows_of_x_and_the_steps():
    assert [columns_for(n) for n in (1, 8, 9, 16, 17, 32, 33, 256)] == [8, 8, 16, 16, 32, 32, 64, 64]
    assert {tiles.split for tiles in candidates(1, 1)} == {1}
    found = candidates(43, 16)
    assert len(found) == len(set(found)) == 16 and {tiles.columns for tiles in found} == {16}
