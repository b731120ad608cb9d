"""A person's settings: small, without aliases or tags; numbers and texts as in YAML 1.2."""

import pytest

from llmc.errors import LONGEST, UserError
from llmc.reading.toml_file import toml_document
from llmc.reading.yaml_file import yaml_document

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "a: *a",
        "a: &a 1",
        "a: !!python/object:os.system x",
        "a: !!int ''",
        "a: !!timestamp x",
        "1: x",
        "[1]: x",
        "{a: 1}: x",
        "a: 1\na: 2",
        "null: x",
        "[" * 5000,
        "a: " + "[" * 100 + "]" * 100,
        "- " * 3000 + "x",
        "%YAML 9",
        "a: 'x",
        "\x00",
        "a: \ud800".encode("utf-8", "surrogatepass"),
        b"\xff\xfe",
        "x: y\n---\nz: 1",
        "a: [" + "1," * 30_000 + "]",
    ],
)
def test_a_strange_recipe_is_one_sentence(tmp_path, text):
    (tmp_path / "r.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        yaml_document(tmp_path / "r.yaml", "recipe r.yaml")
    assert len(str(caught.value)) <= LONGEST


def test_plain_values_are_those_of_yaml_1_2(tmp_path):
    (tmp_path / "r.yaml").write_text("[2:4, 010, 1e-3, .5, yes, true, null, ~, 0x10, 2024-99-99, -1, .inf, '7']")
    found = yaml_document(tmp_path / "r.yaml", "r")
    assert found == ["2:4", 10, 0.001, 0.5, "yes", True, None, None, "0x10", "2024-99-99", -1, float("inf"), "7"]


@pytest.mark.parametrize(
    "text", [b"a = ", b"\xff", b"a = " + b"[" * 3000 + b"]" * 3000, b"a = " + b"[" * 20 + b"]" * 20, b"a" * 2 * 10**6]
)
def test_a_strange_policy_is_one_sentence(tmp_path, text):
    (tmp_path / "p.toml").write_bytes(text)
    with pytest.raises(UserError) as caught:
        toml_document(tmp_path / "p.toml", "the policy")
    assert len(str(caught.value)) <= LONGEST
