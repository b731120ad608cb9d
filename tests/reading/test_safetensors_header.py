"""A header is taken only where safetensors itself would take the file: that library is the second route."""

import json
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from llmc.errors import UserError
from llmc.reading.safetensors_header import LONGEST, safetensors_header


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_a_sound_file_is_read_as_the_library_reads_it(tmp_path):
    tensors = {
        "a": torch.ones(3, 4),
        "b": torch.zeros(5, dtype=torch.int32),
        "c": torch.zeros(0, 7),
        "d": torch.ones(()),
    }
    save_file(tensors, tmp_path / "x", metadata={"format": "pt"})
    found = safetensors_header(tmp_path / "x")
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert {name: list(info.shape) for name, info in found.items()} == {
            n: file.get_slice(n).get_shape() for n in tensors
        }
        assert {name: info.dtype for name, info in found.items()} == {n: file.get_slice(n).get_dtype() for n in tensors}
    assert {name: info.n_bytes for name, info in found.items()} == {n: t.nbytes for n, t in tensors.items()}


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}
NEXT = {"dtype": "U8", "shape": [4], "data_offsets": [16, 20]}


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "F33"},
        {"dtype": None},
        {"dtype": ["F32"]},
        {"shape": [2, 3]},
        {"shape": [-2, -2]},
        {"shape": "22"},
        {"shape": [2.0, 2]},
        {"shape": [True, 4]},
        {"shape": [2**62, 2**62]},
        {"shape": None},
        {"data_offsets": [0, 8]},
        {"data_offsets": [8, 24]},
        {"data_offsets": [16, 0]},
        {"data_offsets": [-16, 0]},
        {"data_offsets": [0, 16, 20]},
        {"data_offsets": ["0", "16"]},
        {"data_offsets": [0, 2**70]},
        {"more": 1},
    ],
)
def test_one_entry_that_is_wrong_is_named(tmp_path, change):
    write(tmp_path / "x", {"a": {**ENTRY, **change}, "b": NEXT}, bytes(20))
    with pytest.raises(UserError, match=r"sound|truncated|whole"):
        safetensors_header(tmp_path / "x")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**64 - 1) + b"{}",
        struct.pack("<Q", LONGEST + 1) + b"{}",
        struct.pack("<Q", 9) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}x",
        struct.pack("<Q", 4) + b"null",
        struct.pack("<Q", 2) + b"\xff{",
    ],
)
def test_a_file_that_is_none_is_one_sentence(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError):
        safetensors_header(tmp_path / "x")


SIZES = st.lists(st.integers(-1, 4), max_size=3)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "I64", "BF16", "X"]),
        "shape": SIZES,
        "data_offsets": st.tuples(st.integers(-1, 40), st.integers(0, 40)).map(list),
    }
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), ENTRIES, max_size=3), st.integers(0, 40))
def test_whatever_is_taken_the_library_takes_too(tmp_path, header, n):
    write(tmp_path / "x", header, bytes(n))
    try:
        safetensors_header(tmp_path / "x")
    except UserError:
        return
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert set(file.keys()) == set(header)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 200), st.integers(0, 255))
def test_a_byte_that_flips_in_the_header_is_refused_or_harmless_as_in_the_library(tmp_path, at, value):
    save_file({"a": torch.ones(3, 4), "b": torch.zeros(5, dtype=torch.int32)}, tmp_path / "y")
    content = bytearray((tmp_path / "y").read_bytes())
    content[at % len(content)] = value
    (tmp_path / "x").write_bytes(content)
    try:
        safetensors_header(tmp_path / "x")
    except UserError:
        return
    try:
        with safe_open(tmp_path / "x", framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name)
    except SafetensorError as error:
        raise AssertionError(f"taken, and the library refuses it: {error}") from error
