"""Calibration tokens: full windows of the source's own tokens, drawn by seed, with every bad file one sentence."""

import hashlib
import json
import struct

import pyarrow
import pyarrow.parquet
import pytest
import torch

from llmc.data.calibration import calibrate, check_source
from llmc.errors import UserError


class Words:
    """A tokenizer whose ids are the numbers in the text; 0 ends a text."""

    eos_token_id = 0

    def __call__(self, text, **_):
        return {"input_ids": [int(word) for word in text.split()]}


def draw(path, *, samples=4, seq_len=5, seed=0):
    return calibrate(Words(), str(path), samples=samples, seq_len=seq_len, seed=seed)


DOCUMENTS = [" ".join(str(100 * d + i) for i in range(1, 13)) for d in range(1, 9)]


@pytest.fixture(params=["txt", "jsonl", "parquet"])
def source(request, tmp_path):
    path = tmp_path / f"text.{request.param}"
    if request.param == "txt":
        path.write_text(" 0 ".join(DOCUMENTS))
    elif request.param == "jsonl":
        path.write_text("\n".join(json.dumps({"text": d, "id": i}) for i, d in enumerate(DOCUMENTS)))
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": DOCUMENTS}), path)
    return path


def test_windows_are_runs_of_the_joined_documents_each_drawn_once(source):
    """Every format of the same documents gives the same tokens: 0 between documents, no padding, no overlap."""
    stream = [int(w) for w in " 0 ".join(DOCUMENTS).split()]
    found = draw(source, samples=100)
    assert found.tokens.shape == (len(stream) // 5, 5)
    assert sorted(found.tokens.flatten().tolist()) == sorted(stream[: len(stream) // 5 * 5])
    starts = {tuple(stream[i : i + 5]) for i in range(0, len(stream), 5)}
    assert {tuple(row) for row in found.tokens.tolist()} <= starts
    assert "only 20 of the 100" in found.warnings[0]
    assert found.revision == hashlib.sha256(source.read_bytes()).hexdigest()


def test_the_seed_decides_and_fewer_samples_are_the_first_of_more(source):
    assert torch.equal(draw(source, seed=1).tokens, draw(source, seed=1).tokens)
    assert not torch.equal(draw(source, seed=1).tokens, draw(source, seed=2).tokens)
    assert torch.equal(draw(source, samples=6).tokens[:4], draw(source, samples=4).tokens)


def test_the_hash_is_that_of_the_ids_as_little_endian_int64(source):
    found = draw(source)
    ids = found.tokens.flatten().tolist()
    assert found.sha256 == hashlib.sha256(struct.pack(f"<{len(ids)}q", *ids)).hexdigest()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("short.txt", b"1 2 3", "less than one sequence"),
        ("latin.txt", b"1 2 \xff 3", "not UTF-8"),
        ("bad.jsonl", b'{"text": "1 2"}\n\n{', r"bad\.jsonl:3 is not JSON"),
        ("latin.jsonl", b'{"text": "1 2"}\n"\xff"', r"latin\.jsonl:2 is not UTF-8"),
        ("number.jsonl", b'"1 2"\n7', r"number\.jsonl:2 has no field 'text'"),
        ("null.jsonl", b'{"text": null}', r"null\.jsonl:1 has no field 'text'"),
        ("half.jsonl", b'"1"\n{"text": "\\ud800"}', r"half\.jsonl:2 holds half of a character"),
        ("words.csv", b"words\n1 2\n", r"words\.csv:2 has no field 'text'"),
        ("ragged.csv", b"id,text\n1,1 2\n2\n", r"ragged\.csv:3 has another number of fields"),
        ("none.jsonl", b'{"words": "1 2"}', "no field 'text'"),
        ("bad.parquet", b"PAR0", "can't be read"),
        ("empty.txt", b"", "less than one sequence"),
    ],
)
def test_a_bad_file_is_one_sentence(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=said):
        draw(tmp_path / name)


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(tmp_path, inside):
    """All of these are characters of a text that JSON may hold as they are, or (below U+0020) escaped."""
    rows = [{"text": f"{i} 2{inside}3"} for i in range(4, 9)]
    path = tmp_path / "text.jsonl"
    path.write_bytes("\r\n".join(json.dumps(row, ensure_ascii=ord(inside) < 32) for row in rows).encode())
    found = draw(path, samples=100)
    assert sorted(found.tokens.flatten().tolist()) == sorted([i for k in range(4, 9) for i in (k, 2, 3, 0)])


@pytest.mark.parametrize("name", ["text.jsonl", "text.txt", "text.csv"])
def test_a_byte_order_mark_is_no_text(tmp_path, name):
    content = {"text.jsonl": '{"text": "1 2 3 4"}', "text.txt": "1 2 3 4", "text.csv": "text\n1 2 3 4\n"}[name]
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert draw(tmp_path / name, seq_len=4).tokens.tolist() == [[1, 2, 3, 4]]


def test_a_parquet_row_without_a_text_is_named(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"text": ["1 2", None, "3"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=r"x\.parquet: row 2 has no text"):
        draw(tmp_path / "x.parquet")


def test_unknown_sources_and_senseless_sizes_are_one_sentence(tmp_path):
    pyarrow.parquet.write_table(pyarrow.table({"words": ["1"]}), tmp_path / "x.parquet")
    with pytest.raises(UserError, match="no column 'text'"):
        draw(tmp_path / "x.parquet")
    for source, said in (("wikitext", "did you mean 'wikitext2'"), ("no/such.txt", "does not exist")):
        with pytest.raises(UserError, match=said):
            check_source(source)
    with pytest.raises(UserError, match="ask for no tokens"):
        draw(tmp_path / "x.parquet", samples=0)


class Framed(Words):
    """The same with what it is told to put around a text."""

    def __init__(self, lead, tail):
        self.lead, self.tail = lead, tail

    def __call__(self, text, add_special_tokens=True, **_):
        bare = super().__call__(text)["input_ids"]
        return {"input_ids": [*self.lead, *bare, *self.tail] if add_special_tokens else bare}


@pytest.mark.parametrize(("lead", "tail"), [([], []), ([7], []), ([], [0]), ([7], [0]), ([6, 7], [0])])
def test_every_window_begins_as_the_tokenizer_begins_a_text_and_none_holds_its_end(source, lead, tail):
    found = calibrate(Framed(lead, tail), str(source), samples=100, seq_len=5, seed=0).tokens
    stream = [int(w) for w in " 0 ".join(DOCUMENTS).split()] + [0]
    width = 5 - len(lead)
    assert found.shape == (len(stream) // width, 5) and (found[:, : len(lead)] == torch.tensor(lead)).all()
    starts = {tuple(stream[i : i + width]) for i in range(0, len(stream), width)}
    assert {tuple(row) for row in found[:, len(lead) :].tolist()} <= starts
    with pytest.raises(UserError, match="no room beside 5"):
        calibrate(Framed([9] * 5, []), str(source), samples=1, seq_len=5, seed=0)


def test_the_made_up_world_is_a_source_without_a_file():
    from transformers import AutoTokenizer

    from llmc.data.mini_model import mini_model_path

    found = calibrate(AutoTokenizer.from_pretrained(mini_model_path()), "mini", samples=3, seq_len=64, seed=0)
    assert found.tokens.shape == (3, 64) and found.revision is None
