"""`llmc gate` as a pipeline sees it: every exit code, the files it writes, and how seldom it fails equal models."""

import io
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from llmc.cli import run
from llmc.errors import Exit
from llmc.evaluate.stats.paired import paired_difference
from llmc.evaluate.stats.verdict import Evidence, settle
from llmc.judging.policy import Policy
from llmc.report.annotations import github_annotations
from llmc.report.junit import junit
from llmc.report.markdown import MAX_BYTES, gate_markdown, report_markdown
from llmc.report.terminal import print_rule
from tests.report.made_up_runs import DENSE, GPTQ, write_run

KEPT_ONLY = 'rule = [{ id = "k", suite = "kick", level = "suite", tolerance = { points = 3.0 } }]\n'
TRUST = 'rule = [{ id = "trust", suite = "trust", level = "dimension", tolerance = { points = 3.0 } }]\n'
TIGHT = 'rule = [{ id = "k", suite = "kick", level = "suite", tolerance = { points = 0.1 } }]\n'


@pytest.fixture
def gate(family, tmp_path):
    """Runs the gate on dense and one of the compressed runs; gives the exit code."""
    dense, others = family

    def call(text, *more, which=0):
        policy = tmp_path / "gate.toml"
        policy.write_text(text)
        return run(["gate", str(dense), str(others[which]), "--policy", str(policy), *map(str, more)])

    return call


@pytest.mark.parametrize(
    "text, which, code",
    [
        (KEPT_ONLY, 0, Exit.OK),
        (TRUST, 0, Exit.LOST),
        (KEPT_ONLY, 2, Exit.LOST),  # collapsed
        (TIGHT, 0, Exit.UNDECIDED),
        (TIGHT + '[decide]\nundecided = "warn"', 0, Exit.UNDECIDED),
        (TIGHT + '[decide]\nundecided = "pass"', 0, Exit.OK),
        (KEPT_ONLY + 'budget = [{ id = "size", metric = "artifact_bytes", max_ratio = 0.30 }]', 0, Exit.OK),
        (KEPT_ONLY + 'budget = [{ id = "size", metric = "artifact_bytes", max_ratio = 0.20 }]', 0, Exit.LOST),
        (KEPT_ONLY + 'budget = [{ id = "v", metric = "load_s", max_ratio = 1 }]', 0, Exit.NOT_COMPARABLE),
        ("rule = [{ id = 1 }]", 0, Exit.USER),
        (KEPT_ONLY.replace('"kick"', '"kcik"'), 0, Exit.USER),
        (
            TRUST + 'waiver = [{ rule = "trust", dimension = "fairness", reason = "#1", expires = 9999-12-31 }]'
            '\n[decide]\nundecided = "pass"',
            0,
            Exit.OK,
        ),
        (
            TRUST + 'waiver = [{ rule = "trust", dimension = "fairness", reason = "#1", expires = 2001-12-31 }]',
            0,
            Exit.LOST,
        ),
        (TRUST.replace('"dimension", ', '"dimension", test = "not-lost", '), 1, Exit.OK),
        (KEPT_ONLY.replace('"suite", ', '"suite", test = "superior", '), 0, Exit.UNDECIDED),
    ],
)
def test_exit_codes(gate, text, which, code, capsys):
    found = gate(text, which=which)
    said = capsys.readouterr()
    assert found == code, said.out + said.err


def test_mistakes_come_before_lost_before_not_comparable(gate, family, tmp_path):
    lost_and_absent = TRUST + 'budget = [{ id = "v", metric = "load_s", max_ratio = 1 }]'
    assert gate(lost_and_absent) == Exit.LOST
    assert gate(TRUST + "[stats]\nconfidence = 2") == Exit.USER
    tight_and_lost = (TRUST + TIGHT).replace("]\nrule = [", ",").replace("]\n,", ",")
    assert gate(tight_and_lost) == Exit.LOST


def test_exit_zero_says_which_code_it_replaces(gate, capsys):
    assert gate(TRUST, "--exit-zero") == Exit.OK
    assert "exit code 1 replaced by 0" in capsys.readouterr().err


def test_check_policy_reads_and_stops(gate, capsys):
    assert gate(TRUST, "--check-policy") == Exit.OK
    assert "1 rules, 0 budgets" in capsys.readouterr().out
    assert gate("x = 1", "--check-policy") == Exit.USER


def test_explain_tells_the_numbers_and_knows_its_rules(gate, capsys):
    gate(TRUST, "--explain", "trust")
    said = capsys.readouterr().out
    assert all(word in said for word in ("interval", "McNemar", "p         ", "bootstrap", "flips     "))
    assert gate(TRUST, "--explain", "trsut") == Exit.USER
    assert "did you mean 'trust'" in capsys.readouterr().err


def test_explain_names_the_unit_of_its_numbers(compared):
    run = compared.comparison.runs[0]
    row = next(row for row in run.rules if row.change is not None)
    console = Console(record=True, width=200, file=io.StringIO())
    relative = row.model_copy(update={"rule": "relative", "unit": "% of dense"})
    print_rule(run.model_copy(update={"rules": [relative]}), "relative", console)
    said = console.export_text().split("verdict")[0]
    assert "% of dense over" in said and "points over" not in said and "points shows" not in said


def test_the_gate_without_runs_or_with_absent_ones_is_a_mistake(tmp_path):
    assert run(["gate"]) == Exit.USER
    assert run(["gate", str(tmp_path / "a"), str(tmp_path / "b")]) == Exit.USER


def test_output_options_change_no_exit_code_and_agree(gate, tmp_path, capsys):
    files = {name: tmp_path / "out" / name for name in ("g.xml", "g.json", "g.html", "g.md")}
    options = [
        "--junit",
        files["g.xml"],
        "--json",
        files["g.json"],
        "--html",
        files["g.html"],
        "--summary",
        files["g.md"],
    ]
    assert gate(TRUST, *options, "--annotations", "github") == gate(TRUST) == Exit.LOST
    sentence = next(r for r in json.loads(files["g.json"].read_text())["runs"][0]["rules"] if r["name"] == "fairness")
    assert sentence["code"] == "lost" and sentence["line"] == 1
    for text in (files["g.xml"].read_text(), files["g.html"].read_text(), capsys.readouterr().out):
        assert sentence["sentence"] in text
    assert "▼ FAIL" in files["g.md"].read_text()


def test_the_summary_is_added_to_a_workflow_step(gate, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    gate(TRUST, "--summary", summary)
    assert summary.read_text().startswith("before\n**llmc gate: FAIL**")


# ---- forms ------------------------------------------------------------------------------------------------------


def test_junit_counts_its_elements_and_has_one_case_a_row(compared):
    root = ET.fromstring(junit(compared.comparison))
    rows = compared.comparison.runs[0].rules
    assert len(root.findall(".//testcase")) == len(rows) == int(root.get("tests"))
    for attribute, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(root.get(attribute)) == len(root.findall(f".//{tag}"))
        assert all(int(s.get(attribute)) == len(s.findall(f".//{tag}")) for s in root.findall("testsuite"))
    names = [(case.get("classname"), case.get("name")) for case in root.findall(".//testcase")]
    assert len(set(names)) == len(names)
    failure = next(f for f in root.findall(".//failure") if "fairness" in (f.text or ""))
    assert failure.get("type") == "FAIL" and "items lost, dense surest first" in failure.text


def test_junit_drops_characters_that_xml_has_no_way_to_write(compared):
    comparison = compared.comparison
    rows = [
        r.model_copy(update={"sentence": "a\x00b\x0bc\ud800d\uffff", "name": "n\x1b"}) for r in comparison.runs[0].rules
    ]
    broken = comparison.model_copy(update={"runs": [comparison.runs[0].model_copy(update={"rules": rows})]})
    assert ET.fromstring(junit(broken)).find(".//failure").get("message") == "a�b�c�d�"


def test_annotations_escape_and_stop_at_ten(compared):
    comparison = compared.comparison
    path = comparison.policy.model_copy(update={"path": "a,b:c.toml"})
    rows = [
        r.model_copy(update={"outcome": "fail", "line": 4, "sentence": "50 %\nx"}) for r in comparison.runs[0].rules
    ]
    changed = comparison.model_copy(
        update={"policy": path, "runs": [comparison.runs[0].model_copy(update={"rules": rows})]}
    )
    lines = github_annotations(changed)
    assert lines[0].startswith("::notice title=llmc gate FAIL::GPTQ 4-bit: ")
    assert len(lines) == 11 and lines[-1].endswith(f"and {len(rows) - 9} more in the report")
    assert lines[1].startswith("::error file=a%2Cb%3Ac.toml,line=4,title=") and lines[1].endswith("::50 %25%0Ax")


def test_markdown_leads_with_the_verdict_and_stays_short(compared):
    comparison = compared.comparison
    text = gate_markdown(comparison)
    assert text.startswith("**llmc gate: FAIL** · ") and "<!-- llmc-gate:GPTQ-4-bit -->" in text.splitlines()[0]
    assert "| trust / fairness | loss ≤ 3 points | −" in text
    many = [comparison.runs[0].model_copy(update={"rules": comparison.runs[0].rules * 40})]
    long = gate_markdown(comparison.model_copy(update={"runs": many}))
    assert "… and " in long and "more in the report." in long
    assert len(report_markdown(comparison.model_copy(update={"runs": comparison.runs * 100})).encode()) <= MAX_BYTES
    assert report_markdown(comparison).startswith("# None of the 3 runs is a PASS. Nearest is GPTQ 4-bit: FAIL: ")


def test_markdown_turns_no_name_into_a_mention_a_link_or_markup(compared):
    comparison = compared.comparison
    facts = comparison.runs[0].facts.model_copy(update={"label": "@all #1 [x](http://a) <b> | `c`"})
    run_ = comparison.runs[0].model_copy(update={"facts": facts, "headline": facts.label})
    text = report_markdown(comparison.model_copy(update={"runs": [run_], "title": facts.label}))
    visible = text.partition("<details>")[0]
    assert (
        "@all" not in visible
        and "](http" not in visible.replace("\\](", "")
        and "<b>" not in visible.replace("\\<b", "")
    )


# ---- size -------------------------------------------------------------------------------------------------------


def test_two_runs_of_one_model_with_other_seeds_are_seldom_lost(monkeypatch):
    """200 gates of 13 rows under the built-in limits: the same model drawn twice, 8 % of items flipping either way."""
    monkeypatch.setattr(
        "llmc.evaluate.stats.verdict._needed", lambda *arguments: None
    )  # no word hangs on it, and it is slow
    limits, generator = Policy().stats.limits(), np.random.default_rng(200)
    n, failed = 400, 0
    known = {}
    for tables in generator.multinomial(n, [0.04, 0.04, 0.92], size=(200, 13)):
        for gained, lost, _ in tables.tolist():
            if (gained, lost) not in known:
                dense, other = np.ones(n), np.ones(n)
                dense[:gained] = 0
                other[gained : gained + lost] = 0
                known[gained, lost] = paired_difference(dense, other, np.arange(n))
        rows = [Evidence(name="x", difference=known[b, c], margin=0.03) for b, c, _ in tables.tolist()]
        failed += any(v.code == "lost" for v in settle(rows, limits))
    assert failed < 10


def test_the_whole_gate_on_two_draws_of_one_model_does_not_lose(tmp_path):
    """The same with files, ten times: dense answers sampled with two seeds."""
    tasks = ("kick/closed_book", "kick/open_book", "trust/ethics")
    dense = write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=tasks))
    codes = []
    for seed in range(10):
        made = replace(GPTQ, n=200, tasks=tasks, gained=0.04, lost=0.04, harm={}, seed=100 + seed)
        again = write_run(tmp_path / f"again{seed}", made)
        codes.append(run(["gate", str(dense), str(again)]))
    assert Exit.LOST not in codes and set(codes) <= {Exit.OK, Exit.UNDECIDED}
