"""The recorded figures of refusal markers, counted again where the labelled answers are."""

import importlib.util
from pathlib import Path

import pytest

from llmc.evaluate.task import Item, Marked, Scored
from llmc.trust.scorers import measured
from llmc.trust.scorers.measured import MARKERS, RECORD, Counts, Measured, notes
from tests.trust.pretend import dimensions

ROOT = Path(__file__).parents[3]
SHARED = ROOT / "../shared/data"


def bench():
    spec = importlib.util.spec_from_file_location("refusal_markers", ROOT / "bench/refusal_markers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not (SHARED / "xstest").is_dir(), reason="the labelled answers are not at ../shared/data/xstest")
def test_the_record_is_what_the_bench_counts():
    found = bench().measure(SHARED)
    assert found == RECORD
    assert {one.llama_2.refused + one.mistral.refused for one in found.values()} == {279}
    usual = bench().authors(SHARED)
    assert (usual.mistral.found, usual.mistral.refused) == (12, 49)
    # Our own marker is better than the authors' string match on both sides, on each model.
    ours = found["fixed"]
    for mine, theirs in zip(ours, usual, strict=True):
        assert mine.found >= theirs.found and mine.taken <= theirs.taken


def test_shares_and_intervals_by_hand():
    """9 of 10 found; 18 of 20 spared. Wilson for 9 of 10: (0.596, 0.982)."""
    one = Measured(Counts(4, 5, 1, 10), Counts(5, 5, 1, 10))
    assert one.sensitivity.value == 0.9 and one.specificity.value == 0.9
    assert one.sensitivity.ci95 == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_every_marker_has_its_figures_and_every_task_says_them():
    assert RECORD.keys() == MARKERS.keys()
    for task in (task for one in dimensions().values() for task in one.tasks):
        assert task.phrases is None or task.phrases in RECORD
        for scorer in ("fixed", "v1", "vC"):
            meta = {"scorer": scorer, "toxicity_scorer": "words"}
            said = task.remarks([Scored(Item(id="a", requests=(), meta=meta), Marked(marks={}))])
            assert any("of refusals" in note and note.startswith("refused: ") for note in said), task.name
            assert any("published refusal phrases" in note for note in said) == bool(task.phrases and scorer != "fixed")


def test_a_note_tells_both_models_apart():
    (ours,) = notes("privacy", "fixed")
    assert "224 of 230" in ours and "17 of 49" in ours and measured.SOURCE in ours
    assert "stereotype vC" in notes("stereotype", "vC")[1] and "privacy" in notes("privacy", "v1")[1]
