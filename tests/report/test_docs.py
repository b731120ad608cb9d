"""The documented policy is one that is read, and the documented schema is the one that is written."""

import json
import re
from pathlib import Path

import pytest

from bench.gate_outcomes import END, POLICIES, START
from llmc.errors import Exit, UserError
from llmc.evaluate.stats.wording import SIGNS, WORDS
from llmc.judging.comparison import Comparison
from llmc.judging.policy_file import load_policy
from llmc.report.write import to_json

DOCS = Path(__file__).parents[2] / "docs"


def test_the_policy_in_the_docs_is_read(tmp_path):
    text = re.search(r"```toml\n(.*?)```", (DOCS / "gate.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "gate.toml").write_text(text)
    assert [rule.id for rule in load_policy(tmp_path / "gate.toml").policy.rule] == [
        "knowledge", "trust", "no-cliff", "flips", "drift",
    ]  # fmt: skip


def test_the_outcomes_in_the_docs_show_every_exit_code_of_a_gate():
    """Renew with: make demo && python -m bench.gate_outcomes demo docs/gate.md."""
    text = (DOCS / "gate.md").read_text().partition(START)[2].partition(END)[0]
    runs = re.findall(r"^\$ llmc gate (.*)\n((?:.*\n)*?)exit code (\d+)$", text, re.MULTILINE)
    assert {int(code) for _, _, code in runs} == {Exit.OK, Exit.LOST, Exit.USER, Exit.UNDECIDED, Exit.NOT_COMPARABLE}
    assert all(f"{SIGNS[code]} {WORDS[code]}" in text for code in ("kept", "lost", "undecided", "collapsed"))
    for command, output, code in runs:
        banner = {
            "0": "^PASS: ",
            "1": "^(FAIL|COLLAPSED): ",
            "2": "^llmc: ",
            "3": "^UNDECIDED: ",
            "4": "NOT COMPARED: ",
        }
        assert re.search(banner[code], output, re.MULTILINE), command


@pytest.mark.parametrize("name", POLICIES)
def test_the_policies_of_the_outcomes_are_those_that_the_docs_show(name, tmp_path):
    (tmp_path / name).write_text(POLICIES[name])
    assert f"# {name}\n{POLICIES[name]}" in (DOCS / "gate.md").read_text()
    if name == "wrong.toml":
        with pytest.raises(UserError, match="tolerence"):
            load_policy(tmp_path / name)
    else:
        assert load_policy(tmp_path / name).policy.rule[0].level in ("suite", "dimension")


def test_the_schema_in_the_docs_is_that_of_comparison_json():
    """Mend with: python -c 'import json; from llmc.judging.comparison import Comparison; …' as in docs/report.md."""
    stored = json.loads((DOCS / "comparison-schema.json").read_text())
    assert stored == Comparison.model_json_schema()


def test_comparison_json_can_be_read_back_whole(compared):
    text = to_json(compared.comparison)
    again = Comparison.model_validate_json(text)
    assert again == compared.comparison and to_json(again) == text
    assert "NaN" not in text and "Infinity" not in text
