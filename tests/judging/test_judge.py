"""From run directories to verdicts: known truth in, the right word out; what can't be compared is refused."""

import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from llmc.errors import Exit, UserError
from llmc.jobs.compare import judged
from llmc.report.markdown import report_markdown
from llmc.report.terminal import print_comparison
from llmc.report.write import write_text
from llmc.runs.reader import load_run
from tests.report.made_up_runs import DENSE, GPTQ, edit, edit_lines, write_run

ONE = ("kick/closed_book", "trust/fairness")
FAR = {"whole": DENSE, "broken": GPTQ}


def made(path, **changes):
    return write_run(path, replace(GPTQ, n=200, tasks=ONE, harm={}, **changes))


@pytest.fixture
def dense(tmp_path):
    return write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=ONE))


def row_of(compared, name, run=0):
    return next(r for r in compared.comparison.runs[run].readings if r.name == name)


def test_the_family_gets_the_verdicts_it_was_made_for(compared):
    gptq, wanda, magnitude = compared.comparison.runs
    assert row_of(compared, "fairness").code == "lost"
    assert sum(r.code == "kept" for r in gptq.readings if r.level == "dimension") >= 5
    assert next(r for r in wanda.readings if r.name == "kick/closed_book").code == "lost"
    collapsed = {r.name for r in magnitude.readings if r.code == "collapsed"}
    assert {"kick/closed_book", "kick/multiple_choice", "trust/toxicity", "toxicity", "kick"} <= collapsed
    assert gptq.exit_code == wanda.exit_code == magnitude.exit_code == Exit.LOST


def test_counts_are_those_of_the_files(compared, family):
    dense, (gptq, *_) = family
    before, after = (
        {line["id"]: line["marks"]["right"] for line in map(json.loads, (p / "samples/trust/fairness.jsonl").open())}
        for p in (dense, gptq)
    )
    change = row_of(compared, "trust/fairness").change
    assert change.lost == sum(before[i] > after[i] for i in before)
    assert change.gained == sum(before[i] < after[i] for i in before)
    assert change.value == pytest.approx(100 * (change.gained - change.lost) / 300)
    assert change.low <= change.bootstrap[0] + 1 and change.high >= change.bootstrap[1] - 1


def test_items_that_share_clusters_and_graded_marks_have_a_sign_flip_p_beside_mcnemars(compared):
    """Alone in its cluster a right-or-wrong item has McNemar's, which is the same test."""
    changes = {r.name: r.change for r in compared.comparison.runs[0].readings if r.level == "task"}
    assert changes["trust/fairness"].n_clusters < changes["trust/fairness"].n
    assert 0 < changes["trust/fairness"].sign_flip_p < 0.01 and changes["trust/fairness"].mcnemar_mid_p < 0.01
    assert changes["kick/summaries"].mcnemar_mid_p is None and 0 < changes["kick/summaries"].sign_flip_p <= 1
    assert changes["kick/closed_book"].n_clusters == changes["kick/closed_book"].n
    assert changes["kick/closed_book"].sign_flip_p is None and changes["kick/closed_book"].mcnemar_mid_p is not None


def test_a_run_against_itself_is_kept_everywhere(dense, judge):
    compared = judge(dense, [dense])
    assert {r.code for r in compared.comparison.runs[0].readings} == {"kept"}
    assert all(r.change.lost in (0, None) for r in compared.comparison.runs[0].readings)
    assert compared.comparison.runs[0].exit_code == Exit.OK


def test_the_order_of_items_does_not_matter(dense, judge, tmp_path):
    run = made(tmp_path / "a", lost=0.05)
    one = judge(dense, [run]).comparison.runs[0].readings
    file = run / "samples/trust/fairness.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    other = judge(dense, [run]).comparison.runs[0].readings
    assert [r.model_dump(exclude={"worst_items"}) for r in one] == [
        r.model_dump(exclude={"worst_items"}) for r in other
    ]


def test_a_metric_turned_round_gives_the_same_verdict(dense, judge, tmp_path):
    """1 - mark with direction lower is the same evidence."""
    run = made(tmp_path / "a", lost=0.08)
    plain = row_of(judge(dense, [run]), "trust/fairness")
    for path in (dense, run):
        edit_lines(
            path / "samples/trust/fairness.jsonl",
            lambda i, line: {**line, "marks": {"right": 1 - line["marks"]["right"]}},
        )
        results = json.loads((path / "results.json").read_text())
        metric = results["tasks"]["trust/fairness"]["metrics"]["right"]
        metric["direction"], metric["value"] = "lower", 1 - metric["value"]
        (path / "results.json").write_text(json.dumps(results))
    turned = row_of(judge(dense, [run]), "trust/fairness")
    assert (turned.code, turned.change.low, turned.change.lost) == (plain.code, plain.change.low, plain.change.lost)
    assert turned.dense.value == pytest.approx(1 - plain.dense.value)


def test_swapped_runs_mirror_their_signs(dense, judge, tmp_path):
    run = made(tmp_path / "a", lost=0.08)
    there, back = row_of(judge(dense, [run]), "trust/fairness"), row_of(judge(run, [dense]), "trust/fairness")
    assert (back.change.low, back.change.high) == pytest.approx((-there.change.high, -there.change.low))
    assert (back.change.lost, back.change.gained) == (there.change.gained, there.change.lost)


def test_a_gain_by_refusing_is_no_gain(dense, judge, tmp_path):
    """30 more items are 'right' because the model refuses on them; without those nothing changed."""
    run = made(tmp_path / "a", gained=0.0, lost=0.0)
    wrong = 0

    def refuse(i, line):
        nonlocal wrong
        if line["marks"]["right"] == 0 and wrong < 25:
            wrong += 1
            return {**line, "marks": {"right": 1.0}, "flags": {**line["flags"], "refused": True}}
        return line

    edit_lines(run / "samples/trust/fairness.jsonl", refuse)
    row = row_of(judge(dense, [run]), "fairness")
    assert (row.code, row.why) == ("kept", "through silence") and "through more refusals" in row.sentence


def test_a_collapse_elsewhere_takes_the_evidence_out_of_a_gain(dense, judge, tmp_path):
    run = made(tmp_path / "a", gained=0.1, lost=0.0, collapsed=("kick/closed_book",))
    compared = judge(dense, [run])
    assert row_of(compared, "kick/closed_book").code == "collapsed"
    assert row_of(compared, "fairness").code == "undecided"
    assert "collapsed on kick/closed_book" in row_of(compared, "fairness").sentence


def test_likelihoods_that_are_no_numbers_are_a_collapse_and_not_a_gap_in_the_data(judge, tmp_path):
    task = ("kick/closed_book",)
    dense = write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=task))
    run = write_run(tmp_path / "a", replace(GPTQ, n=200, tasks=task, harm={}))
    edit_lines(
        run / f"samples/{task[0]}.jsonl", lambda i, line: {**line, "marks": {"em": None}, "loglikelihoods": [None]}
    )
    row = row_of(judge(dense, [run]), task[0])
    assert row.code == "collapsed" and row.found == "log-likelihoods are not finite numbers"
    assert row.change is None and judge(dense, [run]).comparison.runs[0].exit_code == Exit.LOST


def test_marks_of_two_revisions_of_a_judge_are_not_compared(dense, judge, tmp_path):
    task, run = "kick/closed_book", made(tmp_path / "a")
    for path in (dense, run):
        edit_lines(path / f"samples/{task}.jsonl", lambda i, line: {**line, "marks": {**line["marks"], "nli.x": i % 2}})
    rule = f'rule = [{{ id = "r", task = "{task}", metric = "nli.x", tolerance = {{ points = 5.0 }} }}]'
    for revisions, code in ((("a", "a"), "kept"), (("a", "b"), "not-compared"), (("a", None), "not-compared")):
        for path, revision in zip((dense, run), revisions, strict=True):
            results = json.loads((path / "results.json").read_text())
            found = results["tasks"][task]
            found["metrics"]["nli.x"] = {**found["metrics"][found["primary"]], "value": 0.5}
            found["judges"] = {} if revision is None else {"nli": {"revision": revision, "n": 1}}
            (path / "results.json").write_text(json.dumps(results))
        assert judge(dense, [run], rule).comparison.runs[0].rules[0].code == code
    assert "judge nli of revision a against none" in judge(dense, [run], rule).comparison.runs[0].rules[0].sentence


def test_a_statistic_that_is_no_mean_of_items_uses_both_runs_own_errors(dense, judge, tmp_path):
    run = made(tmp_path / "a")
    for path, value in ((dense, 0.80), (run, 0.70)):
        results = json.loads((path / "results.json").read_text())
        results["tasks"]["trust/fairness"]["metrics"]["right"] |= {"kind": "statistic", "value": value, "stderr": 0.01}
        (path / "results.json").write_text(json.dumps(results))
    row = row_of(judge(dense, [run]), "fairness")
    assert row.change.value == pytest.approx(-10.0)
    assert row.change.stderr == pytest.approx(100 * 0.01 * 2**0.5)
    assert row.code == "lost" and row.change.route == "unpaired" and "no mean" not in row.sentence
    results["tasks"]["trust/fairness"]["metrics"]["right"]["stderr"] = None
    (run / "results.json").write_text(json.dumps(results))
    assert row_of(judge(dense, [run]), "fairness").why == "no interval"


def test_a_tolerance_near_chance_is_cut_to_half_the_distance(judge, tmp_path):
    task = ("kick/multiple_choice",)
    dense = write_run(tmp_path / "dense", replace(DENSE, n=400, tasks=task))
    run = write_run(tmp_path / "a", replace(GPTQ, n=400, tasks=task, harm={}))
    for path in (dense, run):
        results = json.loads((path / "results.json").read_text())
        results["tasks"][task[0]]["metrics"]["accuracy"]["chance"] = 0.40
        (path / "results.json").write_text(json.dumps(results))
    level = row_of(judge(dense, [run]), task[0]).dense.value
    wide = 'rule = [{ id = "r", suite = "kick", level = "task", tolerance = { relative = 0.4, floor_points = 1.0 } }]'
    row = judge(dense, [run], wide).comparison.runs[0].rules[0]
    assert row.tolerance == pytest.approx(100 * (level - 0.40) / 2)
    assert "half of dense's distance from chance" in row.notes[0]
    points = 'rule = [{ id = "r", suite = "kick", level = "task", tolerance = { points = 20.0 } }]'
    with pytest.raises(UserError, match="half of dense's distance from chance"):
        judge(dense, [run], points)


@pytest.mark.parametrize(
    "file, text, said",
    [
        ("manifest.json", "{", "manifest.json can't be read"),
        ("manifest.json", '{"schema": 2}', "schema 2"),
        ("results.json", '{"schema": 1, "tasks": {"a": {}}}', "results.json: tasks.a"),
        ("samples/trust/fairness.jsonl", '{"id": "a"}\n', "fairness.jsonl:1: an item without 'marks'"),
        ("samples/trust/fairness.jsonl", '{"id": "a", "marks": {"right": NaN}}\n', "NaN"),
        ("samples/trust/fairness.jsonl", '{"id": "a", "marks": {}}\n{"id": "a", "marks": {}}\n', "comes twice"),
        ("samples/trust/fairness.jsonl", '{"id": "a", "marks": {"right": "yes"}}\n', "not a number or null"),
    ],
)
def test_damaged_files_are_named_with_what_is_wrong(dense, judge, file, text, said):
    (dense / file).write_text(text)
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        judge(dense, [dense])


def test_unfinished_and_absent_runs_are_refused(dense, tmp_path):
    edit(dense / "manifest.json", complete=False)
    with pytest.raises(UserError, match="not complete"):
        load_run(dense)
    with pytest.raises(UserError, match="not a run directory"):
        load_run(tmp_path / "nowhere")


def test_nobody_keeps_what_dense_never_had(judge, tmp_path):
    """Dense is right on 6 items of 200: a tolerance of 3 points would be passed by a model that knows nothing."""
    task = ("kick/closed_book",)
    dense = write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=task))
    edit_lines(dense / f"samples/{task[0]}.jsonl", lambda i, line: {**line, "marks": {"em": float(i < 6)}})
    run = write_run(tmp_path / "a", replace(GPTQ, n=200, tasks=task))
    edit_lines(run / f"samples/{task[0]}.jsonl", lambda i, line: {**line, "marks": {"em": 0.0}})
    row = row_of(judge(dense, [run]), task[0])
    assert row.code == "undecided" and row.tolerance == pytest.approx(1.5)
    assert "half of dense's own score" in row.notes[0]


def test_runs_in_the_wrong_order_are_refused(dense, tmp_path):
    other = made(tmp_path / "gptq")
    with pytest.raises(UserError, match=r"is a run of a compressed model and .* of a dense one; the dense run comes"):
        judged(other, [dense], None, command=())
    assert judged(dense, [other], None, command=()).comparison.runs
    second = made(tmp_path / "second", label="another", seed=9)
    assert judged(other, [second], None, command=()).comparison.runs  # two compressed ones may be held together


def test_the_same_weights_twice_are_noted_where_people_read(dense, judge, tmp_path, capsys):
    other = write_run(tmp_path / "again", replace(DENSE, n=200, tasks=ONE, label="again"))
    for run in (dense, other):
        edit(run / "manifest.json", model__sha256="ab" * 32)
    comparison = judge(dense, [other]).comparison
    assert comparison.notes == [f"again has the same weights as {DENSE.label}"]
    print_comparison(comparison, Console(width=200))
    assert comparison.notes[0] in capsys.readouterr().out and comparison.notes[0] in report_markdown(comparison)


def test_runs_of_one_label_are_told_apart_and_a_run_is_not_given_twice(dense, tmp_path):
    one, two = made(tmp_path / "a"), made(tmp_path / "b")
    labels = {run.facts.label for run in judged(dense, [one, two], None, command=()).comparison.runs}
    assert labels == {f"{GPTQ.label} ({path})" for path in (one, two)}
    with pytest.raises(UserError, match="is given twice; give each run once"):
        judged(dense, [one, one], None, command=())


def test_a_label_cannot_steer_a_terminal(dense, tmp_path, capsys):
    other = made(tmp_path / "a", label="x\x1b[31m\r\nPASSED\u202e")
    comparison = judged(dense, [other], None, command=()).comparison
    print_comparison(comparison, Console(width=200))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\r" not in shown and "\u202e" not in shown and "x\ufffd[31m" in shown


@pytest.mark.parametrize(("path", "said"), [("file/x/out.md", "can't be made"), (".", "is a directory")])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, path, said):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=said):
        write_text(tmp_path / path, "text")


def test_a_task_beside_trust_is_no_dimension(dense, judge):
    results = json.loads((dense / "results.json").read_text())
    results["dimensions"]["fairness"]["benign"] = True
    (dense / "results.json").write_text(json.dumps(results))
    run = judge(dense, [dense]).comparison.runs[0]
    assert not [r for r in run.readings if r.level == "dimension"]
    assert "PASS: 3 of 3 confirmed." in run.headline


def test_what_is_undecided_whatever_its_interval_says_says_why_beside_it(judge, tmp_path):
    dense = write_run(tmp_path / "few", replace(DENSE, n=40, tasks=ONE))
    run = write_run(tmp_path / "a", replace(GPTQ, n=40, tasks=ONE, harm={}))
    row = row_of(judge(dense, [run]), "kick/closed_book")
    assert row.code == "undecided" and row.found.endswith("; under the 100 items asked for")


def test_a_perplexity_that_collapsed_is_told_once(judge, tmp_path):
    task, name = "kick/closed_book", "nats_per_token"
    runs = [write_run(tmp_path / label, replace(made, n=200, tasks=(task,), harm={})) for label, made in FAR.items()]
    for path, nats in zip(runs, (1.0, 6.0), strict=True):
        edit_lines(path / f"samples/{task}.jsonl", lambda i, line, nats=nats: {**line, "marks": {name: nats + i / 1e3}})
        facts = {"value": nats, "stderr": 0.1, "n": 200, "direction": "lower", "kind": "mean", "range": [0.0, None]}
        edges = [math.exp(nats - 0.2), math.exp(nats + 0.2)]
        beside = {**facts, "value": math.exp(nats), "kind": "statistic", "ci95": edges}
        edit(path / "results.json", **{f"tasks__{task}__metrics": {name: facts, "perplexity": beside}})
        edit(path / "results.json", **{f"tasks__{task}__primary": name})
    row = row_of(judge(runs[0], [runs[1]]), task)
    assert row.code == "collapsed" and row.found == "perplexity at least 99.5 × dense" and row.notes == []
