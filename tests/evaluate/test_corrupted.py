"""A run that was killed, and whose files were then damaged, ends in the same answers or is refused."""

import logging
import shutil
from collections import Counter

import pytest

from llmc.evaluate.engine import generate
from llmc.evaluate.engine.engine import Engine
from llmc.evaluate.runner import gather, perform
from llmc.evaluate.task import TaskContext
from llmc.runs.writer import Run, RunWriter
from tests.corrupting import FOLDERS, TRIALS, contents, damage, killed, outcome, trials, writes
from tests.evaluate import tiny
from tests.runs.test_writer import MANIFEST, Toy

logger = logging.getLogger(__name__)


def evaluate(path, model, resume):
    """What `llmc eval` does once the tasks are known; every step's tokens are noted."""
    writer = RunWriter(path, resume=resume)
    if writer.complete:
        writer.check(MANIFEST)
        return Run(path).results
    writer.begin(MANIFEST)
    engine = Engine(model, tiny.tokenizer(), batch_tokens=128)
    engine.journal = writer.journal
    part = perform(gather(Toy(), TaskContext()), engine, writer.journal)
    writer.write_samples(Toy.name, part.samples)
    writer.finish(MANIFEST, {"tasks": {Toy.name: part.results}})
    return Run(path).results


class Clock:
    """A minute goes by between two looks."""

    now = 0.0

    def __call__(self):
        self.now += 61.0
        return self.now


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama")


@pytest.mark.parametrize("noted", [False, True])
def test_damage_after_a_kill_never_gives_other_answers(noted, model, tmp_path, monkeypatch):
    if noted:
        monkeypatch.setattr(generate.Writer, "clock", Clock())
    n_writes = writes(lambda: evaluate(tmp_path / "whole", model, resume=False))
    expected, counted = contents(tmp_path / "whole", without=FOLDERS), Counter()
    for trial, rng in trials(f"eval {noted}"):
        path, at = tmp_path / str(trial), rng.randrange(2, n_writes + n_writes // 8 + 2)
        lived = killed(lambda path=path: evaluate(path, model, resume=False), at)
        done = [damage(path, rng) for _ in range(rng.choice([1, 1, 2, 3]))]
        said = f"trial {trial}, {'finished' if lived else f'killed at {at}'}, {done}"
        results, refused = outcome(lambda path=path: evaluate(path, model, resume=True))
        counted["finished" if lived else "killed", "refused" if refused else "same"] += 1
        if refused is None:
            assert contents(path, without=FOLDERS) == expected, said
            assert results == Run(tmp_path / "whole").results, said
        shutil.rmtree(path)
    logger.info("noted=%s: %s", noted, dict(counted))
    assert counted["killed", "same"] > TRIALS // 5
