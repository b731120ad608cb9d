"""One vocabulary: five words for a check and for all, and the same counts of them in everything that is written."""

import io
import itertools
import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from llmc.cli import run
from llmc.errors import Exit
from llmc.evaluate.stats.wording import ORDER
from llmc.judging.flips import collect
from llmc.judging.headline import counts, gate_banner, overall, tally
from llmc.judging.judge import exit_code, worst_exit
from llmc.report.annotations import github_annotations
from llmc.report.junit import junit
from llmc.report.markdown import gate_markdown, report_markdown
from llmc.report.page import PageOptions, page
from llmc.report.terminal import print_comparison, print_gate
from llmc.report.write import to_json
from tests.report.made_up_runs import DENSE, GPTQ, edit, write_run

WORD = "|".join(ORDER)
FORBIDDEN = re.compile(r"\b(kept|keeps|lost all|Yes|Not yet|not yet|passed:|could not decide)\b")
TASKS = ("kick/closed_book", "kick/open_book", "kick/instructions", "trust/fairness", "trust/ethics", "trust/toxicity")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(dense, other): PASS, FAIL, UNDECIDED, COLLAPSED and NOT COMPARED all in one."""
    folder = tmp_path_factory.mktemp("words")
    dense = write_run(folder / "dense", replace(DENSE, n=300, tasks=TASKS))
    made = replace(
        GPTQ, n=300, tasks=TASKS, lost=0.0, gained=0.0, collapsed=("trust/toxicity",),
        harm={"kick/open_book": 0.15, "trust/fairness": 0.04, "kick/instructions": 0.03},
    )  # fmt: skip
    other = write_run(folder / "other", made)
    facts = json.loads((other / "manifest.json").read_text())["tasks"]
    facts["trust/ethics"]["version"] = 2
    edit(other / "manifest.json", tasks=facts)
    return dense, other


def of_tally(text):
    """The counts in a tally, wherever it stands."""
    confirmed, n = map(int, re.search(r"(\d+) of (\d+) confirmed", text).groups())
    rest = text.partition(" confirmed")[2]
    found = Counter({"PASS": confirmed})
    for number, word in re.findall(rf", (\d+) ({WORD})\b", rest.split(". ")[0].split(" · ")[0].split(" | ")[0]):
        found[word] += int(number)
    assert sum(found.values()) == n
    return found


def of_words(text):
    """Words that stand behind a sign, one a row of a table."""
    return Counter(re.findall(rf"[●▲▼◇✕–] ({WORD})(?! \(\d)\b", text))


def printed(show, *given, width=200):
    console = Console(file=io.StringIO(), width=width)
    show(*given, console)
    return console.file.getvalue()


@pytest.mark.parametrize("decide", ["", '[decide]\nundecided = "pass"\nmissing = "warn"\ncollapsed = "warn"'])
def test_every_output_says_the_same_words_the_same_number_of_times(judge, runs, decide):
    compared = judge(runs[0], [runs[1]], decide or None)
    comparison, one = compared.comparison, compared.comparison.runs[0]
    wanted = Counter({word: n for word, n in one.counts.items() if n})
    assert set(wanted) == set(ORDER), "the runs hold every word"
    assert wanted == Counter(row.word for row in one.rules) == of_tally(one.tally)
    assert of_tally(one.headline) == of_tally(one.verdict) == of_tally(comparison.title) == wanted
    data = json.loads(to_json(comparison))["runs"][0]
    assert Counter(row["word"] for row in data["rules"]) == Counter(data["counts"]) == wanted
    for width in (200, 80):
        assert of_words(printed(print_gate, one, width=width)) == wanted
        assert of_words(printed(print_comparison, comparison, width=width)) == wanted
    assert of_tally(gate_markdown(comparison)) == of_words(gate_markdown(comparison)) == wanted
    assert of_tally(report_markdown(comparison)) == of_words(report_markdown(comparison)) == wanted
    cases = ET.fromstring(junit(comparison)).findall(".//testcase")
    types = Counter(case[0].get("type") if len(case) else "PASS" for case in cases)
    assert types == wanted == of_tally(ET.fromstring(junit(comparison)).get("name"))
    text = page(compared, collect(compared.joined), PageOptions())
    rules = re.search(r'<table class="rules">.*?</table>', text, re.DOTALL).group()
    readings = "".join(re.findall(r'<table class="changes">.*?</table>', text, re.DOTALL))
    for part in (rules, readings):
        assert (
            Counter(re.findall(rf'<td data-k="Verdict"><span[^>]*><span[^>]*>.</span> ({WORD})</span>', part)) == wanted
        )
    assert of_tally(rules) == wanted
    lines = github_annotations(comparison)
    assert of_tally(lines[0]) == wanted
    titled = Counter(re.search(rf"title=[^:]* ({WORD})::", line).group(1) for line in lines[1:10])
    assert sum(titled.values()) == min(9, sum(row.outcome not in ("pass", "waived") for row in one.rules))
    for row in one.rules:
        assert row.sentence.startswith(row.word) and not FORBIDDEN.search(row.sentence + row.found)
    assert not FORBIDDEN.search(one.headline + one.verdict + comparison.recommendation)


def test_in_all_the_worst_word_that_the_policy_does_not_excuse(judge, runs):
    assert judge(runs[0], [runs[1]]).comparison.runs[0].word == "COLLAPSED"
    excused = judge(runs[0], [runs[1]], '[decide]\ncollapsed = "warn"').comparison.runs[0]
    assert (excused.word, excused.exit_code) == ("FAIL", Exit.LOST)
    assert f"{excused.counts['COLLAPSED']} COLLAPSED (passed by the policy)" in excused.tally


OUTCOMES = {"fail": "FAIL", "error": "NOT COMPARED", "undecided": "UNDECIDED", "pass": "PASS", "waived": "FAIL"}
CODES = {"fail": Exit.LOST, "error": Exit.NOT_COMPARABLE, "undecided": Exit.UNDECIDED}
SUBSETS = [s for n in range(1, len(OUTCOMES) + 1) for s in itertools.combinations(OUTCOMES, n)]


@pytest.mark.parametrize("outcomes", SUBSETS)
def test_a_shown_loss_comes_before_what_could_not_be_compared_before_undecided(compared, outcomes):
    row = compared.comparison.runs[0].rules[0]
    rows = [row.model_copy(update={"outcome": o, "word": OUTCOMES[o], "name": o}) for o in outcomes]
    first = next((o for o in ("fail", "error", "undecided") if o in outcomes), None)
    assert exit_code(rows) == exit_code(rows[::-1]) == (CODES[first] if first else Exit.OK)
    assert overall(rows) == (OUTCOMES[first] if first else "PASS")
    assert gate_banner(rows, None, None).startswith(f"{overall(rows)}: {tally(rows)}")
    assert sum(counts(rows).values()) == len(rows)


@pytest.mark.parametrize(
    "codes", itertools.product([Exit.OK, Exit.LOST, Exit.UNDECIDED, Exit.NOT_COMPARABLE], repeat=2)
)
def test_the_exit_code_of_several_runs_follows_the_same_order(codes):
    order = [Exit.LOST, Exit.NOT_COMPARABLE, Exit.UNDECIDED, Exit.OK]
    assert worst_exit(codes) == order[min(order.index(code) for code in codes)]
    assert worst_exit([]) == Exit.OK


@pytest.mark.parametrize("decide, code, word", [
    ("", Exit.UNDECIDED, "UNDECIDED"),
    ('[decide]\nundecided = "warn"', Exit.UNDECIDED, "UNDECIDED"),
    ('[decide]\nundecided = "pass"', Exit.OK, "PASS"),
])  # fmt: skip
def test_undecided_is_never_a_pass_unless_the_policy_says_so(tmp_path, capsys, decide, code, word):
    tasks = ("kick/closed_book", "trust/fairness")
    dense = write_run(tmp_path / "dense", replace(DENSE, n=60, tasks=tasks))
    other = write_run(tmp_path / "other", replace(GPTQ, n=60, tasks=tasks, harm={}))
    (tmp_path / "gate.toml").write_text(decide)
    files = [tmp_path / "g.xml", tmp_path / "g.md"]
    options = ["--policy", str(tmp_path / "gate.toml"), "--junit", str(files[0]), "--summary", str(files[1])]
    assert run(["gate", str(dense), str(other), *options]) == code
    said = capsys.readouterr().out
    assert f"{word}: 0 of " in said and "UNDECIDED (60 of 100 items" in said
    assert files[1].read_text().startswith(f"**llmc gate: {word}** · 0 of ")
    root = ET.parse(files[0]).getroot()
    assert all(len(case) == 1 and case[0].get("type") == "UNDECIDED" for case in root.findall(".//testcase"))
    assert (root.get("failures") != "0") == (not decide)


def test_every_task_asks_that_a_loss_is_ruled_out(judge, tmp_path):
    """A loss of 7 points on 120 items that isn't shown: it used to pass, since it was not shown."""
    tasks = ("trust/fairness",)
    dense = write_run(tmp_path / "dense", replace(DENSE, n=120, tasks=tasks))
    other = write_run(tmp_path / "other", replace(GPTQ, n=120, tasks=tasks, harm={"trust/fairness": 0.04}))
    one = judge(dense, [other]).comparison.runs[0]
    assert [r.word for r in one.rules if r.rule == "every-task"] == ["UNDECIDED"] and one.exit_code == Exit.UNDECIDED


def test_a_loss_that_is_shown_is_exit_1_though_another_row_could_not_be_compared(runs, capsys):
    assert run(["gate", *map(str, runs)]) == Exit.LOST
    assert "NOT COMPARED" in capsys.readouterr().out


def test_asking_for_a_gain_has_its_own_words(judge, runs):
    """A model that is merely not worse is undecided there, one that is lower fails, and the sentence agrees."""
    rule = 'rule = [{{ id = "r", level = "task", task = "{}", test = "superior", tolerance = {{ points = 35.0 }} }}]'
    for task, word in (("kick/closed_book", "UNDECIDED"), ("kick/open_book", "FAIL")):
        row = judge(runs[0], [runs[1]], rule.format(task)).comparison.runs[0].rules[0]
        assert row.word == word and row.sentence.startswith(f"{word}. A gain was asked for and is not shown: ")


def test_what_no_rule_asks_about_is_shown_without_a_word(judge, runs):
    one = judge(
        runs[0], [runs[1]], 'rule = [{ id = "r", suite = "kick", level = "suite", tolerance = { points = 20.0 } }]'
    ).comparison.runs[0]
    assert [r.name for r in one.readings if r.word] == ["kick"]
    said = printed(print_comparison, type("C", (), {"runs": [one], "notes": []}))
    assert said.count("no rule asks") == len(one.readings) - 1


# ---- a run against itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["itself", "link", "copy", "renamed copy", "hard links"])
def test_a_run_against_itself_is_refused(runs, tmp_path, capsys, how):
    dense = runs[0]
    other = tmp_path / "other"
    if how == "itself":
        other = dense / "." / "samples" / ".."
    elif how == "link":
        other.symlink_to(dense, target_is_directory=True)
    else:
        shutil.copytree(dense, other, copy_function=shutil.copy if "copy" in how else _hard)
    if how == "renamed copy":
        edit(other / "manifest.json", model__label="w4", seconds=1.0, command=["llmc", "eval", "elsewhere"])
    for command in ("gate", "compare"):
        assert run([command, str(dense), str(other)]) == Exit.USER
        assert "itself" in capsys.readouterr().err


def _hard(source, target):
    import os

    os.link(source, target)


def test_dense_evaluated_again_is_compared_and_noted(judge, runs, tmp_path, capsys):
    """Another seed, batch or machine answers otherwise: how far dense is from itself is worth knowing."""
    again = write_run(tmp_path / "again", replace(DENSE, n=300, tasks=TASKS, seed=5, lost=0.01, gained=0.01))
    assert run(["compare", str(runs[0]), str(again)]) == Exit.OK
    assert "has the same weights as" in capsys.readouterr().out


def test_other_weights_with_the_same_answers_are_compared(runs, tmp_path):
    """A lossless form of the model."""
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    edit(other / "manifest.json", model__sha256="ef" * 32, compression={"stages": []})
    assert run(["gate", str(runs[0]), str(other)]) == Exit.OK


def test_a_noise_run_that_is_the_dense_run_is_refused(runs, tmp_path, capsys):
    policy = tmp_path / "gate.toml"
    policy.write_text(
        f'rule = [{{ id = "f", kind = "flips", over_noise = 0.03 }}]\n[compare]\nnoise_run = "{runs[0]}"\n'
    )
    assert run(["gate", *map(str, runs), "--policy", str(policy)]) == Exit.USER
    assert "the dense run itself" in capsys.readouterr().err
