"""`llmc trust calibrate` prints a report, and says what to mend."""

import json

from typer.testing import CliRunner

from llmc.commands.trust import COMMAND
from llmc.errors import UserError
from tests.trust import made_up

RUNNER = CliRunner()


def test_the_report_and_its_json(tmp_path):
    made_up.write_toxicity(tmp_path / "decodingtrust/data")
    asked = ["calibrate", "words", "--data-root", str(tmp_path)]
    shown = RUNNER.invoke(COMMAND, asked)
    assert shown.exit_code == 0 and "AUC at 0.5   1.000" in shown.stdout
    found = json.loads(RUNNER.invoke(COMMAND, [*asked, "--json"]).stdout)
    assert found["auc"] == 1 and found["scorer"].startswith("words@") and found["n_fit"] == 24


def test_missing_files_are_named(tmp_path):
    shown = RUNNER.invoke(COMMAND, ["calibrate", "words", "--data-root", str(tmp_path)])
    assert isinstance(shown.exception, UserError) and "git clone" in str(shown.exception)
