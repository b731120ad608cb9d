"""A policy's mistakes: each said with its line, its key and the way out, all at once; and what an empty file asks."""

import datetime

import pytest

from llmc.errors import UserError
from llmc.judging.policy import Policy, Tolerance, Waiver
from llmc.judging.policy_file import load_policy
from llmc.judging.toml_lines import key_lines


@pytest.fixture
def read(tmp_path):
    def load(text):
        path = tmp_path / "gate.toml"
        path.write_text(text, encoding="utf-8")
        return load_policy(path)

    return load


RULE = '{{ id = "knowledge", suite = "kick", {} }}'


@pytest.mark.parametrize(
    "text, said",
    [
        (
            'schema = 1\nrule = [\n  { id = "knowledge", tolerence = { points = 1.0 } },\n]',
            ':3 rule "knowledge": unknown key "tolerence"; did you mean "tolerance"?',
        ),
        ("[stats]\nconfidence = 95", ":2 [stats]: confidence 95 must lie between 0.5 and 1"),
        ("[wrong]\n", ':1 unknown key "wrong"; allowed here: budget, collapse, compare'),
        ('rule = [{ id = "a", tolerance = { points = 1.0, relative = 0.1 } }]', "give exactly one of points, relative"),
        ('rule = [{ id = "a", tolerance = { relative = 0.1 } }]', "relative without floor_points"),
        ('rule = [{ id = "a" }]', 'rule "a": give a tolerance'),
        ('rule = [{ id = "a", tolerance = { points = -1 } }]', "points = -1: input should be greater than 0"),
        ('rule = [{ id = "a", kind = "flips" }]', "give at least one of max_rate, over_noise"),
        ('rule = [{ id = "a", kind = "flips", over_noise = 0.1 }]', "over_noise needs compare.noise_run"),
        ('rule = [{ id = "a", kind = "flips", max_rate = 6 }]', "less than or equal to 1"),
        (
            '[[rule]]\nid = "a"\ntolerance = { points = 1 }\n[[rule]]\nid = "a"\ntolerance = { points = 1 }',
            "the id 'a' is given twice",
        ),
        (
            '[[waiver]]\nrule = "nothing"\nreason = "x"\nexpires = 2026-12-31',
            "no rule or budget has this id",
        ),
        ('[[waiver]]\nrule = "trust"\nexpires = 2026-12-31', 'waiver "trust": "reason" is missing'),
        ('budget = [{ id = "s", metric = "artifact_bytes" }]', "give at least one of max_ratio"),
        ('budget = [{ id = "s", metric = "artefact_bytes", max_ratio = 0.3 }]', "'artifact_bytes'"),
        (
            'rule = [{ id = "a", tolerance = { points = 1 }, require = ["kept"], test = "superior" }]',
            "give one of test, require",
        ),
        ('rule = [{ id = "a", tolerance = { points = 1 }, require = ["collapsed"] }]', "can be a verdict that passes"),
        (
            'rule = [{ id = "a", tolerance = { points = 1 }, require = ["not-compared"] }]',
            "can be a verdict that passes",
        ),
        ('rule = [{ id = "a", tolerance = { points = 1 }, require = ["lost"] }]', "can be a verdict that passes"),
        ("[decide]\nundecided = 'shrug'", "undecided = 'shrug': input should be 'fail', 'warn' or 'pass'"),
        ("schema = 2", "schema"),
        ("a = ", "gate.toml"),
    ],
)
def test_a_mistake_is_said_with_its_place(read, text, said):
    with pytest.raises(UserError) as error:
        read(text)
    assert said in str(error.value)


def test_all_mistakes_are_said_at_once(read):
    with pytest.raises(UserError) as error:
        read("[stats]\nconfidence = 95\nmin_item = 3\n[decide]\nmissing = 1\n")
    lines = str(error.value).splitlines()
    assert [line.split()[0].rpartition(":")[2] for line in lines] == ["2", "3", "5"]


def test_an_absent_file_is_said(tmp_path):
    with pytest.raises(UserError, match="can't be read: No such file"):
        load_policy(tmp_path / "gate.toml")


def test_an_empty_file_asks_what_no_file_asks(read):
    assert read("").policy == load_policy(None).policy == Policy()
    assert [rule.id for rule in Policy().rule] == ["knowledge", "trust", "every-task"]
    assert Policy().asks_by_default and not read("rule = []").policy.asks_by_default


def test_the_specifications_example_is_read(read):
    file = read("""schema = 1
rule = [
  { id = "knowledge", suite = "kick", level = "suite", metric = "accuracy", tolerance = { points = 1.0 } },
  { id = "trust", suite = "trust", level = "dimension", tolerance = { points = 2.0 }, override = [{ dimension = "privacy", points = 1.0, min_items = 1000 }] },
  { id = "no-cliff", suite = "*", level = "task", test = "not-lost", tolerance = { relative = 0.10, floor_points = 3.0 } },
  { id = "flips", kind = "flips", max_rate = 0.06, over_noise = 0.03 },
  { id = "drift", kind = "divergence", max_mean_nats = 0.02, max_p99_nats = 0.5 },
]
budget = [
  { id = "size", metric = "artifact_bytes", max_ratio = 0.30 },
  { id = "speed", metric = "decode_tokens_per_s", min_ratio = 1.30, repeats = 5 },
]
waiver = [{ rule = "trust", dimension = "fairness", reason = "tracked in #412", expires = 2026-12-31 }]
[compare]   # a mismatch is exit 4
require_same = ["items", "prompts", "template", "scorer", "tokenizer", "decoding", "batch_size"]
min_paired = 0.995
max_unscored = 0.01
noise_run = "runs/dense-again"   # dense against dense
[stats]
confidence = 0.95
min_items = 200
min_clusters = 10
multiplicity = "holm"
resamples = 9999
seed = 1
[decide]
undecided = "fail"
collapsed = "fail"
missing = "error"
""")  # noqa: E501
    assert [file.line_of("rule", i) for i in range(5)] == [3, 4, 5, 6, 7]
    assert file.line_of("budget", 1) == 11
    assert len(file.policy.rule) == 5 and file.policy.waiver[0].reason == "tracked in #412"
    assert len(file.sha256) == 64


def test_tolerances_in_points_and_relative_with_a_floor():
    assert Tolerance(points=2.0).margin(0.5) == 0.02
    relative = Tolerance(relative=0.05, floor_points=2.0)
    assert relative.margin(0.8) == pytest.approx(0.04)
    assert relative.margin(0.1) == pytest.approx(0.02)
    assert relative.words() == "5 % of dense, at least 2 points" and Tolerance(points=1).words() == "1 point"


def test_lines_of_keys_survive_strings_comments_and_nesting():
    text = """a = '[x]" {' # b = 1
[[t]]
k = [
  { m = [[1], [2]], "q.r" = 1 },
]
[[t]]
[t.u]
v.w = '''
x = 1
'''
y = 1.5
z = 2
"""
    lines = key_lines(text)
    assert lines[("a",)] == 1 and ("b",) not in lines and ("t", 1, "u", "x") not in lines
    assert lines[("t", 0, "k", 0, "m", 1, 0)] == 4 and lines[("t", 0, "k", 0, "q.r")] == 4
    assert lines[("t", 1)] == 6 and lines[("t", 1, "u", "v", "w")] == 8 and lines[("t", 1, "u", "z")] == 12


def test_a_waiver_speaks_of_the_row_that_it_names_at_its_own_level_or_of_the_whole_rule():
    day = datetime.date(2026, 12, 31)
    one = Waiver(rule="trust", dimension="fairness", reason="#1", expires=day)
    assert one.names("dimension", "fairness") and not one.names("dimension", "privacy")
    assert not one.names("task", "fairness")
    assert Waiver(rule="trust", reason="#1", expires=day).names("task", "anything")
