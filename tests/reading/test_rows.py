"""Malformed rows are counted and named, up to one in a hundred; more are refused."""

import json
import logging

import pytest

from llmc.errors import UserError
from llmc.reading.rows import Tally, csv_rows, json_rows, table_rows


def lines(tmp_path, n, bad):
    path = tmp_path / "x.jsonl"
    path.write_text("".join("{\n" if i in bad else json.dumps({"text": str(i)}) + "\n" for i in range(n)))
    return path


@pytest.mark.parametrize(("n", "bad"), [(100, [99]), (1000, range(10)), (50, [])])
def test_up_to_one_in_a_hundred_is_left_out_and_said(tmp_path, caplog, n, bad):
    path = lines(tmp_path, n, bad)
    tally = Tally(path)
    with caplog.at_level(logging.WARNING):
        rows = list(json_rows(path, tally))
        tally.check()
    assert (len(rows), tally.n, tally.n_malformed) == (n - len(bad), n, len(bad))
    assert [
        str(len(bad)) in record.getMessage() and "x.jsonl:" in record.getMessage() for record in caplog.records
    ] == ([True] if bad else [])


@pytest.mark.parametrize(("n", "bad"), [(99, [0]), (1000, range(11)), (1, [0])])
def test_more_are_refused_with_the_first_of_them(tmp_path, n, bad):
    path = lines(tmp_path, n, bad)
    tally = Tally(path)
    list(json_rows(path, tally))
    with pytest.raises(UserError, match=r"x\.jsonl:1 is not JSON"):
        tally.check()


def test_a_file_of_another_kind_is_not_read_to_its_end(tmp_path):
    path = lines(tmp_path, 10_000, range(10_000))
    tally = Tally(path)
    with pytest.raises(UserError, match="rows are malformed"):
        list(json_rows(path, tally))
    assert tally.n < 2000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,id\n1,2\n", "twice"),
        (b"id,words\n1,2\n", "no column 'text'"),
        (b"text\n\xe9\n", "not UTF-8"),
        (b'text\n"' + b"x" * 200_000 + b'"\n', "is not CSV"),
        (b"text,id\n1\n", "another number of fields"),
        (b'text\n"1\n2\n3\n', "is not CSV"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path, content, said):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(UserError, match=said):
        list(table_rows(tmp_path / "x.csv", columns=["text"]))


def test_csv_rows_carry_the_number_of_the_line_that_they_end_on(tmp_path):
    (tmp_path / "x.csv").write_text('a,"b\nc"\nd,e\n')
    assert list(csv_rows(tmp_path / "x.csv")) == [(2, ["a", "b\nc"]), (3, ["d", "e"])]
