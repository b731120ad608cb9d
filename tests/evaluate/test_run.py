"""Run directories: torn journals, kills, resumption to the same bytes, refusals."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from llmc.errors import UserError
from llmc.evaluate.engine import Engine
from llmc.evaluate.estimate import Estimate, mean
from llmc.evaluate.journal import Journal
from llmc.evaluate.run import Run, RunWriter
from llmc.evaluate.runner import described, gather, perform
from llmc.evaluate.task import Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from tests.evaluate import tiny


@dataclasses.dataclass(frozen=True)
class Toy:
    """Twenty questions with a continuation to score, a text to write, and a second turn."""

    name: ClassVar[str] = "toy/task"
    suite: ClassVar[str] = "toy"
    dimension: ClassVar[None] = None
    version: ClassVar[int] = 1
    source: ClassVar[str] = "none"
    primary: ClassVar[str] = "length"
    metrics: ClassVar[Mapping[str, Metric]] = {"length": Metric()}

    def items(self, ctx: TaskContext):
        for i in range(20):
            asks = (
                Ask(kind="loglikelihood", context="a shared beginning of them all " + "x" * i, continuation=" y"),
                Ask(kind="generate_until", context="w" * (i + 1), max_new_tokens=4),
            )
            yield Item(id=f"{19 - i:02d}", requests=asks, question="?")

    def follow_up(self, item: Item, answers: Sequence[Answer]):
        if len(answers) > 2:
            return ()
        return (Ask(kind="generate_until", context=(answers[1].text or "") + "!", max_new_tokens=3),)

    def mark(self, item: Item, answers: Sequence[Answer]) -> Marked:
        assert len(answers) == 3
        return Marked(marks={"length": float(len(answers[2].text or ""))})

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, Estimate]:
        return {"length": mean([float(marked.marks["length"] or 0) for _, marked in scored])}


MANIFEST = {"model": {"id": "x"}, "suites": ["toy"], "tasks": {}, "mode": "fixed", "scale": "mini", "seed": 0}


def do(path: Path, *, resume: bool = False, kill_after: int | None = None) -> RunWriter:
    writer = RunWriter(path, resume=resume)
    writer.begin(MANIFEST)
    engine = Engine(tiny.model("llama"), tiny.tokenizer(), batch_tokens=128)
    store, n = writer.journal.store, 0

    def killed(batch):
        nonlocal n
        n += 1
        if kill_after is not None and n > kill_after:
            raise KeyboardInterrupt
        store(batch)

    writer.journal.store = killed  # type: ignore[method-assign]
    outcome = perform(gather(Toy(), TaskContext()), engine, writer.journal)
    writer.write_samples(Toy.name, outcome.samples)
    writer.finish(MANIFEST, {"tasks": {Toy.name: outcome.results}})
    return writer


def content(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


def test_a_run_killed_anywhere_ends_in_the_same_bytes(tmp_path):
    do(tmp_path / "whole")
    expected = content(tmp_path / "whole")
    assert set(expected) == {".llmc-folder.json", "manifest.json", "results.json", "samples/toy/task.jsonl"}
    for kill_after in (0, 1, 2, 4):
        path = tmp_path / str(kill_after)
        with pytest.raises(KeyboardInterrupt):
            do(path, kill_after=kill_after)
        with pytest.raises(UserError, match="unfinished"):
            Run(path)
        if kill_after:
            with (path / "journal.jsonl").open("ab") as file:
                file.write(b'{"torn')
        do(path, resume=True)
        assert content(path) == expected


def test_a_resumed_run_asks_only_what_is_missing(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        do(tmp_path / "run", kill_after=2)
    known = len(Journal(tmp_path / "run" / "journal.jsonl").known)
    asked = []
    score = Engine._score

    def spy(self, asks, found, tick):
        asked.extend(key for key in asks if key in found)
        return score(self, asks, found, tick)

    monkeypatch.setattr(Engine, "_score", spy)
    do(tmp_path / "run", resume=True)
    assert known > 0 and len(asked) == known


def test_samples_are_sorted_and_hold_what_the_report_reads(tmp_path):
    do(tmp_path / "run")
    run = Run(tmp_path / "run")
    lines = list(run.samples(Toy.name))
    assert [line["id"] for line in lines] == [f"{i:02d}" for i in range(20)]
    assert set(lines[0]) == {
        "id", "cluster", "stratum", "prompt_sha256", "prompt", "question", "turns", "request", "gold", "answer",
        "choice", "by_mark", "options", "loglikelihoods", "marks", "flags", "kl", "margin", "seconds",
    }  # fmt: skip
    assert len(lines[0]["answer"]) == 2
    metric = run.results["tasks"][Toy.name]["metrics"]["length"]
    assert metric["value"] == pytest.approx(sum(line["marks"]["length"] for line in lines) / 20)


def test_directories_are_never_overwritten_or_mixed(tmp_path):
    do(tmp_path / "run")
    with pytest.raises(UserError, match="--resume"):
        RunWriter(tmp_path / "run")
    assert RunWriter(tmp_path / "run", resume=True).complete
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(UserError, match="no run directory"):
        RunWriter(tmp_path / "other", resume=True)
    with pytest.raises(UserError, match="another seed"):
        RunWriter(tmp_path / "run", resume=True).begin({**MANIFEST, "seed": 1})
    with pytest.raises(UserError, match="not a run"):
        Run(tmp_path / "other")


def test_a_journal_damaged_before_its_end_is_refused(tmp_path):
    path = tmp_path / "journal.jsonl"
    Journal(path).store([("k", Answer(text="é", loglikelihood=-0.1 - 0.2))])
    assert Journal(path).known["k"] == Answer(text="é", loglikelihood=-0.1 - 0.2)
    path.write_bytes(b"{rubbish\n" + path.read_bytes())
    with pytest.raises(UserError, match="damaged"):
        Journal(path)


def test_the_description_changes_with_prompts_and_golds_but_not_with_their_order():
    ctx = TaskContext()
    asked = gather(Toy(), ctx)
    same = asked._replace(items=asked.items[::-1])
    other = asked._replace(items=(dataclasses.replace(asked.items[0], gold="x"), *asked.items[1:]))
    assert described(asked, ctx) == described(same, ctx)
    assert described(asked, ctx)["items_sha256"] != described(other, ctx)["items_sha256"]
    assert described(asked, ctx)["prompts_sha256"] == described(other, ctx)["prompts_sha256"]
    assert len(gather(Toy(), TaskContext(limit=7)).items) == 7


def test_another_draw_of_the_same_question_has_the_same_prompt_hash():
    from llmc.evaluate.task import Ask

    asked = {"kind": "generate_until", "context": "Who?", "temperature": 1.0, "until": ("\n",)}
    one, other = Ask(**asked, seed=1, sample=0), Ask(**asked, seed=2, sample=4)
    assert one.key() != other.key() and one.prompt_key() == other.prompt_key()
    assert one.prompt_key() != Ask(**{**asked, "context": "Who"}).prompt_key()
    assert one.prompt_key() != Ask(**{**asked, "temperature": 0.5}).prompt_key()
