"""A minute of `python -m tests.bad_input.long`: no input ends in a traceback, a hang or a flood."""

import random

import pytest

from tests.bad_input import arguments, bases
from tests.bad_input.kinds import KINDS, prepared
from tests.bad_input.runner import end_of

SEED = 0


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    bases.make(root, lambda line: end_of(line).code)
    return root


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_a_spoilt_file_ends_in_a_verdict_or_in_one_sentence(sound, tmp_path, kind, number):
    draw = random.Random(f"{SEED}/{kind}/{number}")
    line, done = prepared(draw, KINDS[kind], sound, tmp_path / "spoilt")
    ended = end_of(line)
    assert ended.fault is None, f"{ended.fault}: {done}: {' '.join(line)}\n{ended.said}{ended.trace}"


@pytest.mark.parametrize("number", range(20))
def test_a_strange_argument_ends_in_one_sentence(sound, tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    line, done = arguments.line(random.Random(f"{SEED}/arguments/{number}"), sound, tmp_path)
    ended = end_of(line)
    assert ended.fault is None, f"{ended.fault}: {done}: {line}\n{ended.said}{ended.trace}"


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("config", ('"num_hidden_layers": 2', '"num_hidden_layers": 1'), 0),
        ("config", ('"num_hidden_layers": 2', '"num_hidden_layers": 3'), 2),
        ("config", ('"hidden_size": 32', '"hidden_size": "32"'), 0),
        ("config", ('"vocab_size": 2304', '"vocab_size": 2305'), 2),
        ("config", ('"vocab_size": 2304', '"vocab_size": 90000000'), 2),
        ("index", ('"weight_map": {', '"weight_map": [], "x": {'), 0),
        ("policy", ('task = "kick/multiple_choice_qa"\nreason', 'task = "kick/multiple_choice_qb"\nreason'), 0),
        ("policy", ('suite = "kick"', 'suite = "kik"'), 0),
        ("results", ('"schema": 1', '"schema": 1, "schema": 1'), 0),
        ("samples", ('"choice": ', '"choice": 9'), 0),
        ("run's manifest", ('"scale": "mini"', '"scale": "minni"'), 0),
        ("recipe", ("sparsity", "sparsty"), 0),
        ("json lines", ('"text": ', '"tekst": '), 0),
    ],
)
def test_nonsense_is_never_taken(sound, tmp_path, kind, change, line):
    """Each of these would give a number, a model or a verdict if it were passed over."""

    class Changed:
        form, base, name, role, lines = (
            "exact", KINDS[kind].base, KINDS[kind].name, KINDS[kind].role, [KINDS[kind].lines[line]]
        )  # fmt: skip

    arguments_of, _ = prepared(random.Random(0), Changed, sound, tmp_path / "spoilt", change=change)
    ended = end_of(arguments_of)
    assert ended.code == 2 and ended.fault is None, ended
