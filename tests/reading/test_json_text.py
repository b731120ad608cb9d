"""JSON is read as everybody reads it alike, and every other text is one clause."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.errors import LONGEST, UserError
from llmc.reading.json_text import DEPTH, Malformed, json_object, json_value

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=20,
)


@given(PLAIN, st.booleans())
def test_what_json_writes_is_read_as_json_reads_it(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert json_value(text) == json.loads(text)


@given(st.text())
def test_no_text_raises_anything_else(text):
    try:
        json_value(text)
    except Malformed as error:
        assert str(error)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "deep"),
        ("[" * (DEPTH + 2) + "]" * (DEPTH + 2), "deep"),
        ('{"a": 1, "a": 2}', "twice"),
        ("NaN", "no number"),
        ("[Infinity]", "no number"),
        ("1e999", "larger than any number"),
        ("9" * 30, "30 digits"),
        ("9" * 5000, "5000 digits"),
        ('"\\ud800"', "surrogate"),
        ('{"\\udfff": 1}', "surrogate"),
    ],
)
def test_what_readers_read_otherwise_is_refused(text, said):
    with pytest.raises(Malformed, match=said):
        json_value(text)


def test_what_is_meant_for_transformers_may_have_infinity_and_large_numbers_but_no_nan():
    assert json_value("[Infinity, -Infinity]", lenient=True) == [math.inf, -math.inf]
    assert json_value("9" * 30, lenient=True) == int("9" * 30)
    for text in ("NaN", "9" * 5000):
        with pytest.raises(Malformed):
            json_value(text, lenient=True)


@pytest.mark.parametrize("content", [b"[]", b"", b"\xff", b"{", b"7", b"null", b"[" * 100_000])
def test_a_file_that_holds_no_object_is_one_sentence(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.json") as caught:
        json_object(tmp_path / "x.json")
    assert len(str(caught.value)) <= LONGEST


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "x.json").open("wb") as file:
        file.truncate(6 * 10**9)
    with pytest.raises(UserError, match="more than 100,000,000 bytes"):
        json_object(tmp_path / "x.json")
