"""Run directories: torn journals, kills, resumption to the same bytes, refusals."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from llmc.errors import UserError
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.journal import Journal
from llmc.evaluate.runner import described, gather, perform
from llmc.evaluate.stats.estimate import Estimate, mean
from llmc.evaluate.task import Answer, Ask, Item, Marked, Metric, Scored, TaskContext
from llmc.runs.identity import seal_of
from llmc.runs.writer import Run, RunWriter
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
    known = len(Journal(tmp_path / "run" / "journal.jsonl", seal_of(MANIFEST)).known)
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


def test_a_line_that_is_not_as_written_is_asked_again(tmp_path, caplog):
    path = tmp_path / "journal.jsonl"
    first = ("k", Answer(text="é", loglikelihood=-0.1 - 0.2))
    Journal(path).store([first])
    Journal(path).store([("l", Answer(text="yes"))])
    whole = path.read_bytes()
    assert Journal(path).known == dict([first, ("l", Answer(text="yes"))])
    path.write_bytes(whole.replace(b"yes", b"yet"))
    assert Journal(path).known == dict([first]) and "1 line is not as written" in caplog.text
    assert path.read_bytes() == whole.splitlines(keepends=True)[0], "what counts for nothing is gone"
    path.write_bytes(b"{rubbish\n" + whole)
    assert set(Journal(path).known) == {"k", "l"}
    path.write_bytes(b"".join(reversed(whole.splitlines(keepends=True))))
    assert set(Journal(path).known) == {"l"}
    path.write_bytes(whole)
    assert Journal(path, "another run").known == {}


def test_what_is_begun_by_an_older_llmc_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, "schema": 1, "complete": False}))
    (tmp_path / "journal.jsonl").write_text('{"k": {"text": "yes"}}\n')
    with pytest.raises(UserError, match=r"half-made.*; finish it with that version, or give another --out"):
        RunWriter(tmp_path, resume=True).begin(MANIFEST)
    assert (tmp_path / "journal.jsonl").read_text() == '{"k": {"text": "yes"}}\n'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"packages": {"llmc": "9"}}, r"llmc version \(0\.1, not 9\)"),
        ({"packages": {"llmc": "0.1", "torch": "9"}}, r"torch version \(2, not 9\)"),
        ({"code_sha256": "b" * 64}, "code of llmc"),
        ({"model_files": {"config.json": "c" * 64, "tokenizer.json": "e" * 64}}, "tokenizer.json;"),
        ({"model_files": {"config.json": "c" * 64}}, r"tokenizer.json \(gone\)"),
        ({"model": {"id": "x", "sha256": "2" * 64}}, "model: sha256"),
        ({"machine": {"n_threads": 2}}, r"number of threads \(1, not 2\)"),
        ({"dtype": "float32"}, "dtype"),
        ({"backend_args": {"a": "b"}}, "backend_args: a"),
        ({"tasks": {"toy/task": {"suite": "toy", "version": 2}}}, "tasks: toy/task: version"),
    ],
)
def test_whatever_changes_an_answer_is_named(change, said, tmp_path):
    before = {
        **MANIFEST, "packages": {"llmc": "0.1", "torch": "2"}, "code_sha256": "a" * 64, "machine": {"n_threads": 1},
        "model_files": {"config.json": "c" * 64, "tokenizer.json": "d" * 64}, "model": {"id": "x", "sha256": "1" * 64},
        "tasks": {"toy/task": {"suite": "toy", "version": 1}}, "backend_args": {},
    }  # fmt: skip
    RunWriter(tmp_path).begin(before)
    RunWriter(tmp_path, resume=True).begin(before)
    with pytest.raises(UserError, match=f"another {said}"):
        RunWriter(tmp_path, resume=True).begin({**before, **change})


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
