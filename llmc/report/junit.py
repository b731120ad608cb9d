"""The gate's rows as JUnit XML that GitHub, GitLab and Jenkins show: one test case a row, none an item."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from llmc.harmless import block
from llmc.judging.comparison import Comparison, Row

_ILLEGAL = re.compile("[^\u0009\u000a\u000d\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""


def junit(comparison: Comparison) -> bytes:
    """The document. Names of cases are stable and hold no numbers: GitLab tells cases apart by class and name."""
    run = comparison.runs[0]
    root = ET.Element("testsuites", name=_clean(f"llmc gate: {run.word}: {run.tally}"))
    suites: dict[str, list[Row]] = {}
    for row in run.rules:
        suites.setdefault("budgets" if row.level == "budget" else row.suite or "all", []).append(row)
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = run.facts.seconds or 0.0
    for name in sorted(suites):
        suite = _suite(root, name, suites[name], comparison.policy.undecided, seconds / max(len(run.rules), 1))
        for key in totals:
            totals[key] += int(suite.get(key, "0"))
    for key, value in totals.items():
        root.set(key, str(value))
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _suite(root: ET.Element, name: str, rows: Sequence[Row], undecided: str, seconds: float) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", name=_clean(name))
    counts = {"failure": 0, "error": 0, "skipped": 0}
    for row in sorted(rows, key=lambda r: (r.rule, r.level, r.name)):
        case = ET.SubElement(suite, "testcase", classname=f"llmc.{_clean(name)}", time=f"{seconds:.3f}")
        case.set("name", _clean(f"{row.rule}: {row.name} {_claim(row)}"))
        child = _child(row, undecided)
        if child is not None:
            case.append(child)
            counts[child.tag] += 1
    suite.set("tests", str(len(rows)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(counts[tag]))
    suite.set("time", f"{seconds * len(rows):.3f}")
    return suite


def _claim(row: Row) -> str:
    return "within budget" if row.level == "budget" else "not worse"


def _child(row: Row, undecided: str) -> ET.Element | None:
    """What stands inside a test case: nothing for a PASS; else an element whose type is the word of the check."""
    word, message = str(row.word), _clean(row.sentence)
    if row.word == "PASS":
        return None
    if row.outcome == "waived":
        return ET.Element("skipped", type=word, message=_clean(f"{word}, {row.waiver or 'waived'}"))
    if row.outcome == "pass" or (row.outcome == "undecided" and undecided != "fail"):
        return ET.Element("skipped", type=word, message=message)
    child = ET.Element("error" if row.outcome == "error" else "failure", type=word, message=message)
    child.text = _clean("\n".join(_details(row)))
    return child


def _details(row: Row) -> list[str]:
    lines = [f"asked: {row.asked}", f"found: {row.found}"]
    if row.change is not None and row.change.lost is not None:
        lines.append(f"{row.change.lost} lost, {row.change.gained} gained of {row.change.n}")
    if row.worst_items:
        lines.append(f"items lost, dense surest first: {', '.join(row.worst_items)}")
    return [*lines, *row.notes]


def _clean(text: str) -> str:
    """Without what XML 1.0 has no way to write, and without what steers a terminal that shows a job's log."""
    return block(_ILLEGAL.sub("�", text))
