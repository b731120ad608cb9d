"""The documented policy is one that is read, and the documented schema is the one that is written."""

import json
import re
from pathlib import Path

from llmc.report.comparison import Comparison
from llmc.report.policy_file import load_policy
from llmc.report.write import to_json

DOCS = Path(__file__).parents[2] / "docs"


def test_the_policy_in_the_docs_is_read(tmp_path):
    text = re.search(r"```toml\n(.*?)```", (DOCS / "gate.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "gate.toml").write_text(text)
    assert [rule.id for rule in load_policy(tmp_path / "gate.toml").policy.rule] == [
        "knowledge", "trust", "no-cliff", "flips", "drift",
    ]  # fmt: skip


def test_the_schema_in_the_docs_is_that_of_comparison_json():
    """Mend with: python -c 'import json; from llmc.report.comparison import Comparison; …' as in docs/report.md."""
    stored = json.loads((DOCS / "comparison-schema.json").read_text())
    assert stored == Comparison.model_json_schema()


def test_comparison_json_can_be_read_back_whole(compared):
    text = to_json(compared.comparison)
    again = Comparison.model_validate_json(text)
    assert again == compared.comparison and to_json(again) == text
    assert "NaN" not in text and "Infinity" not in text
