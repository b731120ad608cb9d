"""One family of made-up runs for all tests of the report, and one browser for those that need it."""

import datetime

import pytest

from llmc.judging.judge import compare
from llmc.judging.policy_file import load_policy
from llmc.runs.reader import load_run
from tests.report.chromium import PROGRAM, Chromium
from tests.report.made_up_runs import write_family

NOW = datetime.datetime(2026, 11, 21, 7, 0, 0)


@pytest.fixture(scope="session")
def family(tmp_path_factory):
    """(dense, [GPTQ, Wanda, magnitude]): run directories of 300 items a task."""
    return write_family(tmp_path_factory.mktemp("runs"), n=300)


@pytest.fixture(scope="session")
def compared(family):
    """The family under the built-in policy."""
    dense, others = family
    return compare(load_run(dense), [load_run(run) for run in others], load_policy(None), now=NOW)


@pytest.fixture
def judge(tmp_path):
    """Judges run directories under the text of a policy."""

    def judged(dense, others, text=None):
        path = None
        if text is not None:
            path = tmp_path / "gate.toml"
            path.write_text(text)
        return compare(load_run(dense), [load_run(run) for run in others], load_policy(path), now=NOW)

    return judged


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A headless Chromium; tests that want one are skipped where there is none."""
    if PROGRAM is None:
        pytest.skip("no chromium here: apt-get install chromium")
    chromium = Chromium(tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()
