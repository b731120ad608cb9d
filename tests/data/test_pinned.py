"""Pinned data: every file by its hash, and nothing behind the user's back."""

import hashlib
import io
from pathlib import Path

import pytest

from llmc.cli import run
from llmc.data import pinned
from llmc.data.pinned import Dataset, dataset, datasets, fetch, read, verify
from llmc.errors import UserError

SHARED = Path(__file__).parents[2] / "../shared/data"
GOOD = b"good\n"
TOY = Dataset(
    name="toy", source="somewhere", licence="MIT", rows="1", download="https://x/", files={
        "toy/a/b.txt": hashlib.sha256(GOOD).hexdigest()
    },
)  # fmt: skip


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(pinned, "datasets", lambda: {"toy": TOY})


class Opener:
    """Stands for the network."""

    def __init__(self, content):
        self.content, self.addresses = content, []

    def __call__(self, address, timeout):
        self.addresses.append(address)
        return io.BytesIO(self.content)


def test_the_development_mirror_is_whole():
    if not SHARED.is_dir():
        pytest.skip(f"the development data aren't at {SHARED}")
    states = {path: state for each in datasets().values() for path, state in verify(each, SHARED).items()}
    assert len(states) == 184 and set(states.values()) == {"ok"}


def test_a_file_is_read_only_with_the_right_hash(toy, tmp_path):
    with pytest.raises(UserError, match="llmc data pull toy"):
        read(None, "toy/a/b.txt")
    with pytest.raises(UserError, match="is missing"):
        read(tmp_path, "toy/a/b.txt")
    (tmp_path / "toy/a").mkdir(parents=True)
    (tmp_path / "toy/a/b.txt").write_bytes(GOOD)
    assert read(tmp_path, "toy/a/b.txt") == "good\n"
    (tmp_path / "toy/a/b.txt").write_bytes(b"goof\n")
    with pytest.raises(UserError, match="sha256 differs"):
        read(tmp_path, "toy/a/b.txt")


def test_a_fetch_takes_what_is_missing_and_only_what_is_right(tmp_path):
    bad = Opener(b"changed")
    with pytest.raises(UserError, match="isn't the pinned file"):
        fetch(TOY, tmp_path, opener=bad)
    assert verify(TOY, tmp_path) == {"toy/a/b.txt": "missing"}
    good = Opener(GOOD)
    assert fetch(TOY, tmp_path, opener=good) == ["toy/a/b.txt"]
    assert good.addresses == ["https://x/a/b.txt"] and verify(TOY, tmp_path) == {"toy/a/b.txt": "ok"}
    assert fetch(TOY, tmp_path, opener=bad) == [] and len(bad.addresses) == 1
    (tmp_path / "toy/a/b.txt").write_bytes(b"x")
    assert verify(TOY, tmp_path) == {"toy/a/b.txt": "changed"}


def test_a_dataset_without_a_plain_address_says_where_it_is(tmp_path):
    with pytest.raises(UserError, match="berkeley"):
        fetch(dataset("mmlu"), tmp_path)
    with pytest.raises(UserError, match="did you mean 'mmlu'"):
        dataset("mmlx")


def test_the_commands(tmp_path, capsys):
    assert run(["data", "list"]) == 0 and "mmlu" in capsys.readouterr().out
    assert run(["data", "verify", "--data-root", str(tmp_path), "xquad"]) == 2
    assert "llmc data pull xquad" in capsys.readouterr().err
