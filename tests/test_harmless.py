"""Foreign text does nothing to a terminal, a log or a reader of JSON; text without anything hidden stays as it is."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmc.harmless import HIDDEN, block, json_text, line

EVERY = [chr(number) for number in range(0x110000)]
SEEN = set(range(0x600, 0x606)) | {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD} | set(range(0x13430, 0x13440))
"""Format characters that are drawn: signs around Arabic, Syriac and Kaithi numbers, and joiners of hieroglyphs."""
TEXTS = st.text(st.characters(), max_size=60) | st.lists(
    st.sampled_from([*"ab :#[]<>%\n\r\t\x1b\x07\x9b\u202e\u200b\u2066\ud800\ufeff\x7f", "::", "##[", "\x1b]0;x\x07"])
).map("".join)


def obeyed(text):
    """The characters that a terminal obeys or doesn't show, by their Unicode category: not by our own list."""
    return [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and ord(c) not in SEEN]


def test_the_list_holds_every_control_format_and_line_character():
    hidden = re.compile(f"[{HIDDEN}\t\n]")
    assert [hex(ord(c)) for c in obeyed(EVERY) if not hidden.match(c)] == []
    letters = [c for c in EVERY if hidden.match(c) and unicodedata.category(c)[0] in "LNPSZ"]
    assert {hex(ord(c)) for c in letters} == {"0x115f", "0x1160", "0x3164", "0xffa0", "0x2028", "0x2029"}  # fillers


@given(TEXTS)
def test_a_line_is_one_line_that_no_terminal_and_no_runner_obeys(text):
    told = line(text)
    assert obeyed(told) == [] and len(told.splitlines()) <= 1
    assert not re.search(r"(?<!\S)::|##\[|##vso\[", told)
    assert line(told) == told
    assert obeyed(block(text).replace("\n", "").replace("\t", "")) == []
    assert block(text).count("\n") == text.count("\n")


@given(st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="\u115f\u1160\u3164\uffa0:#")))
def test_what_hides_nothing_stays_as_it_is(text):
    assert line(text) == text == block(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("\x1b[31mred", r"\u001b[31mred"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("x ::error::y", r"x \u003a:error::y"),
        ("std::vector<int>", "std::vector<int>"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("naïve 🦙 \xa0 日本", "naïve 🦙 \xa0 日本"),
    ],
)
def test_escapes_are_those_that_a_programmer_knows(text, told):
    assert line(text) == told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner)
)


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_json_is_read_back_as_it_was_and_steers_nothing(data, ascii_only, indent):
    told = json_text(data, indent=indent, ascii_only=ascii_only)
    assert obeyed(told.replace("\n", "")) == [] and (not ascii_only or told.isascii())
    assert not ascii_only or not re.search(r"##\[|##vso\[", told)
    plain = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    assert json.loads(told) == plain


def test_the_pages_script_hides_the_same_characters():
    """items.js has the list a second time, as a regular expression of its own language."""
    script = (Path(__file__).parents[1] / "llmc/report/templates/items.js").read_text(encoding="utf-8")
    found = re.search(r"const HIDDEN = /\[(.*)\]/gu;", script)
    theirs = re.compile("[" + re.sub(r"\\u\{(\w+)\}", lambda m: f"\\U{m[1]:0>8}", found[1]) + "]")
    ours = re.compile(f"[{HIDDEN}]")
    assert [hex(ord(c)) for c in EVERY if bool(theirs.match(c)) != bool(ours.match(c))] == []
