"""A run that is killed within a cohort of generations goes on from the last minute, with the answers of a whole run."""

import random

import pytest
import torch

from llmc.evaluate.backends import backend
from llmc.evaluate.backends.backend import LmEvalBackend
from llmc.evaluate.engine import generate
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.engine.sampling import draw, generator, skip
from llmc.evaluate.journal import Journal
from llmc.evaluate.task import Ask
from tests.evaluate import tiny


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def asks():
    rng = random.Random(5)
    prompts = ["ab cd ea " + "".join(rng.choice("abc de") for _ in range(rng.randint(1, 40))) for _ in range(9)]
    return [
        Ask(kind="generate_until", context=prompt, max_new_tokens=24, temperature=t, sample=k, seed=7)
        for prompt in prompts
        for t, k in ((0.0, 0), (0.8, 0), (0.8, 1))
    ]


def engine(name, journal, *, plain=False):
    made = Engine(tiny.model(name), tiny.tokenizer(), batch_tokens=512)
    if plain:
        made.network.why_not_shared, made.network.caches = "told so", False
    made.journal = journal
    return made


class Clock:
    """Every look at it takes 61 s; at look number `last` the process is killed."""

    def __init__(self, last=None):
        self.n, self.last = 0, last

    def __call__(self):
        self.n += 1
        if self.n == self.last:
            raise Killed
        return 61.0 * self.n


def answers(made):
    journal = made.journal
    return made.answers(asks(), known=journal.known, store=journal.store)


@pytest.mark.parametrize(
    ("name", "plain"), [("llama", False), ("gemma3", False), ("mistral", False), ("opt", False), ("llama", True)]
)
@pytest.mark.parametrize("last", [8, 31])
def test_what_a_kill_leaves_is_gone_on_with(name, plain, last, tmp_path, monkeypatch):
    whole = answers(engine(name, Journal(tmp_path / "whole.jsonl"), plain=plain))
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(generate.Writer, "clock", Clock(last))
    with pytest.raises(Killed):
        answers(engine(name, Journal(path), plain=plain))
    left = Journal(path)
    assert left.begun, "the tokens of those under way are noted"
    assert not set(left.begun) & set(left.known) and len(left.known) < len(asks())
    monkeypatch.setattr(generate.Writer, "clock", Clock())
    again = engine(name, left, plain=plain)
    n_noted = {key: len(tokens) for key, tokens in left.begun.items()}
    assert [(a.text, a.n_tokens) for a in answers(again)] == [(a.text, a.n_tokens) for a in whole]
    assert all(left.known[key].n_tokens > n for key, n in n_noted.items()), "none is begun anew or cut"
    assert Journal(path).known == left.known and not Journal(path).begun


def test_a_short_run_writes_once_a_cohort(tmp_path, monkeypatch):
    """On a machine that is quick enough nothing is cut, so results don't depend on the clock."""
    monkeypatch.setattr(generate.Writer, "clock", staticmethod(lambda: 0.0))
    journal = Journal(tmp_path / "journal.jsonl")
    answers(engine("llama", journal))
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 1
    assert not (tmp_path / "journal-begun.json").exists()


def test_a_minute_is_stored_while_a_cohort_runs(tmp_path, monkeypatch):
    """Two minutes at most are lost: the time between two notes is below that as long as a step is."""
    assert generate.STORE_S <= 60
    monkeypatch.setattr(generate.Writer, "clock", Clock())
    journal = Journal(tmp_path / "journal.jsonl")
    noted = []
    monkeypatch.setattr(journal, "keep", lambda under_way: noted.append(dict(under_way)))
    answers(engine("llama", journal))
    longest = max(answer.n_tokens for answer in journal.known.values())
    assert len(noted) >= longest - 2 and len((tmp_path / "journal.jsonl").read_text().splitlines()) > 1


def test_numbers_that_were_drawn_are_passed_over():
    logits = torch.randn(3, 20)
    one, other = generator((1, 2), 3, 4), generator((1, 2), 3, 4)
    drawn = [draw(each, 0.8, 0.9, one) for each in logits]
    skip(other, 2)
    assert draw(logits[2], 0.8, 0.9, other) == drawn[2]


def test_a_damaged_note_is_begun_anew(tmp_path):
    note = tmp_path / "journal-begun.json"
    Journal(tmp_path / "journal.jsonl").keep({"k": [1, 2]})
    assert Journal(tmp_path / "journal.jsonl").begun == {"k": [1, 2]}
    note.write_text(note.read_text().replace("1, 2", "1, 3"))
    assert Journal(tmp_path / "journal.jsonl").begun == {}


def test_a_finished_run_leaves_no_notes(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.store([])
    journal.keep({"k": [1, 2]})
    assert len(list(tmp_path.iterdir())) == 2
    Journal.remove_from(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_another_backend_is_asked_for_as_much_as_a_minute_allows(monkeypatch, seconds):
    """`seconds` an answer: where 16 take 160 s, fewer are asked for at a time, and stored at once."""
    now, asked = [0.0], []

    class Slow:
        def generate_until(self, requests):
            asked.append(len(requests))
            now[0] += seconds * len(requests)
            return ["x"] * len(requests)

    monkeypatch.setattr(backend.time, "monotonic", lambda: now[0])
    stored = []
    many = [Ask(kind="generate_until", context=str(i)) for i in range(200)]
    LmEvalBackend("slow", Slow()).answers(many, store=lambda batch: stored.append(len(batch)))
    assert asked == stored and sum(asked) == 200
    if seconds == 0:
        assert asked == [16, 32, 64, 88]
    else:
        assert asked[0] == 16 and max(asked[4:]) * seconds <= 60
