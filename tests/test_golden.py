"""What the command line says is what it said: `python -m tests.golden --write` after a change that is meant."""

import pytest

from tests.golden import FOLDER, made


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("empty"))
        return made()


def test_every_golden_file_is_of_something_that_is_there(now):
    assert sorted(now) == sorted(path.name for path in FOLDER.glob("*.txt"))


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.txt")))
def test_the_command_line_says_what_it_said(now, name):
    assert now[name] == (FOLDER / name).read_text()
