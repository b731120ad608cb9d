"""Closed and open book."""

import random

import pytest

from llmc.evaluate.task import Scored, TaskContext
from llmc.kick_bench.passages import bm25, evidence
from llmc.kick_bench.tasks.retrieval_qa import TASK


def test_every_question_is_asked_with_and_without_its_text(ctx):
    items = list(TASK.items(ctx(encode=str.split)))
    assert len(items) == 1190 and len({item.cluster for item in items}) == 240
    closed, opened = items[0].requests
    assert closed.context == f"Answer these questions:\n\nQ: {items[0].question}\nA:"
    assert opened.context.endswith(f"\n\nBased on these texts, answer these questions:\n\nQ: {items[0].question}\nA:")
    # Two annotated answers end inside a word, two stand against a dash that TriviaQA's normaliser doesn't know.
    assert sum(item.stratum == "absent" for item in items) == 4


def test_marks_strata_and_gain(ctx, say):
    item = next(iter(TASK.items(ctx())))
    gold = item.gold[0]
    read = TASK.mark(item, [say("no idea"), say(f" {gold}.\nmore")])
    assert (read.marks["closed"], read.marks["open"], read.marks["gain"], read.marks["copy"]) == (0.0, 1.0, 1.0, 1.0)
    silent = TASK.mark(item, [say(""), say("\n")])
    assert {silent.marks[name] for name in ("closed", "open", "open_exact", "open_f1", "gain")} == {0.0}
    assert silent.flags["empty"]
    found = TASK.summarise([Scored(item, read), Scored(item, silent)])
    assert found["gain"].value == 0.5 and found["present"].value == 1.0


def test_compat_cuts_the_text_by_characters_and_pays_for_silence(ctx, say):
    item = next(iter(TASK.items(ctx(mode="compat"))))
    assert TASK.mark(item, [say(""), say("")]).marks["open"] == 1.0


def test_compat_strips_before_it_stops(ctx, say):
    """Nothing stops the published script: a leading new line is no answer's end, the question said again is."""
    item = next(iter(TASK.items(ctx(mode="compat"))))
    assert [ask.until for ask in item.requests] == [(), ()]
    gold = item.gold[0]
    closed_end = f"Answer these questions:\n\nQ: {item.question}\nA:"
    read = TASK.mark(item, [say(f"\n\n {gold} \nmore"), say(f" zzz {closed_end} {gold}")])
    assert read.answer == (f"{gold} ", "zzz Answer these questions:") and read.marks["closed_exact"] == 1.0
    assert TASK.mark(item, [say(f" zzz {closed_end} {gold}"), say("zzz")]).answer == ("zzz", "zzz")


def test_compat_asks_rows_again_that_come_back(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    page = {"wiki_context": ["text"]}, {"search_context": ["found"]}
    rows = [
        {
            "question_id": name,
            "question": "Who?",
            "entity_pages": page[0],
            "search_results": page[1],
            "answer": {"normalized_aliases": ["ann"]},
        }
        for name in ("a", "b", "a")
    ]
    (tmp_path / "trivia_qa/rc").mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "trivia_qa/rc/validation-0.parquet")
    again = list(TASK.items(TaskContext(data_root=tmp_path, scale="full", mode="compat")))
    assert [(item.id, item.cluster) for item in again] == [("a", "a"), ("b", "b"), ("a-2", "a")]
    assert len(list(TASK.items(TaskContext(data_root=tmp_path, scale="full")))) == 2


def test_long_evidence_keeps_the_passages_near_the_question():
    words = [f"w{i}" for i in range(1000)]
    words[730:733] = ["zebra", "crossing", "rules"]
    text = " ".join(words)
    kept = evidence("What are zebra crossing rules?", text, 210, lambda part: len(part.split()))
    assert "zebra crossing rules" in kept and len(kept.split()) <= 210
    assert evidence("anything", text, 1000, lambda part: len(part.split())) == text


def test_bm25_by_hand():
    """Two passages of equal length, the term once in one: idf = ln(1 + 1.5 / 1.5) = ln 2, and its weight is 1."""
    scores = bm25("zebra", ["zebra x y", "u v w"])
    assert scores == [pytest.approx(0.6931471805599453), 0.0]


def test_bm25_prefers_shorter_passages_and_rarer_terms():
    rng = random.Random(0)
    filler = [f"f{rng.randrange(50)}" for _ in range(30)]
    short, long = bm25("zebra", ["zebra a1 b1", " ".join(["zebra", *filler])])
    assert short > long
    common, rare = bm25("common rare", ["common p q", "rare p q", "common r s", "common t u"])[:2]
    assert rare > common
