"""A file is whole or it is what it was."""

import pytest

from llmc.files import replace_text, whole_file


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a"
    replace_text(path, "before")
    with pytest.raises(RuntimeError), whole_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_text_that_is_not_unicode_is_written_all_the_same(tmp_path):
    replace_text(tmp_path / "a", "x\ud800y")
    assert (tmp_path / "a").read_text() == "x?y"
