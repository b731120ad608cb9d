"""Only plain files are opened, and nothing waits."""

import os
from pathlib import Path

import pytest

from llmc.errors import UserError
from llmc.reading.bounded import read_bytes, read_text


def test_pipes_folders_devices_and_loops_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("pipe", "folder", "zero"):
        with pytest.raises(UserError, match="no plain file"):
            read_bytes(tmp_path / name, at_most=10)
    for name, said in (("loop", "can't be read"), ("none", "is missing")):
        with pytest.raises(UserError, match=said):
            read_bytes(tmp_path / name, at_most=10)


def test_the_bound_is_the_last_size_that_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b"1234567890")
    assert read_bytes(tmp_path / "x", at_most=10) == b"1234567890"
    with pytest.raises(UserError, match="more than 9 bytes"):
        read_bytes(tmp_path / "x", at_most=9)


def test_a_file_whose_size_the_system_does_not_tell_is_bounded_too():
    with pytest.raises(UserError, match="more than 5 bytes"):
        read_bytes(Path("/proc/self/status"), at_most=5)


def test_text_is_utf_8(tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfa\xff")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_text(tmp_path / "x", at_most=10)
