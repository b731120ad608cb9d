"""A report is there as a whole or not at all, whatever stops its writing."""

import errno

import pytest

from llmc.cli import run
from llmc.errors import UserError
from llmc.folders.marker import NAME as MARKER
from llmc.report import write
from llmc.report.page import PageOptions
from llmc.report.write import BEGUN, write_report

FILES = ["comparison.json", "items.jsonl.gz", "report.html", "report.md"]


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != MARKER)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write_items", "page", "report_markdown", "to_json"])
def test_what_stops_a_report_leaves_no_begun_one(family, tmp_path, monkeypatch, capsys, step, failure):
    dense, others = family
    out = tmp_path / "report"

    def stops(*_, **__):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(write, step, stops)
        assert run(["compare", str(dense), str(others[0]), "--out", str(out)]) in (2, 130)
    assert not out.exists()
    assert run(["compare", str(dense), str(others[0]), "--out", str(out)]) == 0, "again, without --overwrite"
    assert names(out) == FILES
    capsys.readouterr()


def test_an_old_report_stays_whole_when_its_successor_fails(compared, tmp_path, monkeypatch):
    write_report(compared, tmp_path, PageOptions(), overwrite=False)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr(write, "report_markdown", lambda _: (_ for _ in ()).throw(OSError("full")))
        write_report(compared, tmp_path, PageOptions(redact=True), overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_a_kill_of_an_older_llmc_left_is_told_and_left_alone(compared, tmp_path):
    (tmp_path / "out" / BEGUN).mkdir(parents=True)
    (tmp_path / "out" / BEGUN / "items.jsonl.gz").write_bytes(b"mine, for all that llmc knows")
    for overwrite in (False, True):
        with pytest.raises(UserError, match="half-made"):
            write_report(compared, tmp_path / "out", PageOptions(), overwrite=overwrite)
    assert (tmp_path / "out" / BEGUN / "items.jsonl.gz").read_bytes() == b"mine, for all that llmc knows"


@pytest.mark.parametrize("option", [["--redact"], ["--overwrite"], ["--max-html-mb", "2"]])
def test_an_option_of_the_report_without_one_is_refused(family, capsys, option):
    dense, others = family
    assert run(["compare", str(dense), str(others[0]), *option]) == 2
    assert f"{option[0]} has no meaning without --out" in capsys.readouterr().err
