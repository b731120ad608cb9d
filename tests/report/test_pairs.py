"""Joining two runs on their items, at the ends: items and marks of one run only, other metrics, marks below 0."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.report.made_up_runs import DENSE, GPTQ, write_run

ONE = ("kick/closed_book", "trust/fairness")
FILE = "samples/trust/fairness.jsonl"


@pytest.fixture
def runs(tmp_path):
    dense = write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=ONE))
    return dense, write_run(tmp_path / "a", replace(GPTQ, n=200, tasks=ONE, harm={}))


def edit_lines(path, change):
    lines = [change(i, json.loads(line)) for i, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines if line is not None))


def fairness(compared):
    run = compared.comparison.runs[0]
    return (
        next(h for h in run.health if h.task == "trust/fairness"),
        next(r for r in run.readings if r.name == "trust/fairness"),
    )


def test_items_that_only_the_compressed_run_has_count_against_the_share_of_pairs(judge, runs):
    edit_lines(runs[0] / FILE, lambda i, line: None if i < 10 else line)
    health, row = fairness(judge(runs[0], [runs[1]]))
    assert (health.n_paired, health.n_only_dense, health.n_only_compressed) == (190, 0, 10)
    assert row.code == "not-compared" and "only 190 of 200 items" in row.sentence


@pytest.mark.parametrize("one", [0, 1])
def test_an_item_that_either_run_alone_could_be_marked_on_is_unscored(judge, runs, one):
    edit_lines(runs[one] / FILE, lambda i, line: {**line, "marks": {"right": None}} if i < 2 else line)
    health, row = fairness(judge(runs[0], [runs[1]]))
    assert health.n_unscored == 2 and row.change.n == 198


def test_an_item_that_neither_run_could_be_marked_on_is_left_out_in_peace(judge, runs):
    for run in runs:
        edit_lines(run / FILE, lambda i, line: {**line, "marks": {"right": None}} if i < 20 else line)
    health, row = fairness(judge(runs[0], [runs[1]]))
    assert health.n_unscored == 0 and row.change.n == 180


@pytest.mark.parametrize("wrong, shared", [(0, 1), (60, 1), (60, 10)])
def test_edges_of_a_level_are_the_outer_ones_of_students_and_wilsons(judge, runs, wrong, shared):
    """With no wrong item Student's has no width; in shared clusters it is the wider one."""

    def marked(i, line):
        return {**line, "marks": {"right": float(i >= wrong)}, "cluster": f"c{i // shared}"}

    for run in runs:
        edit_lines(run / FILE, marked)
    level = fairness(judge(runs[0], [runs[1]]))[1].dense
    means = np.repeat([0.0, 1.0], [wrong, 200 - wrong]).reshape(-1, shared).mean(axis=1)
    half = stats.t.ppf(0.975, means.size - 1) * means.std(ddof=1) / np.sqrt(means.size)
    wilson = stats.binomtest(200 - wrong, 200).proportion_ci(method="wilson")
    assert level.value == pytest.approx(means.mean())
    assert level.low == pytest.approx(min(means.mean() - half, wilson.low))
    assert level.high == pytest.approx(min(1.0, max(means.mean() + half, wilson.high)))


def test_a_task_that_speaks_by_another_metric_is_not_compared(judge, runs):
    path = runs[1] / "results.json"
    data = json.loads(path.read_text())
    task = data["tasks"]["trust/fairness"]
    task["metrics"]["other"], task["primary"] = task["metrics"]["right"], "other"
    path.write_text(json.dumps(data))
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.code == "not-compared" and "metric right against other" in row.sentence


def test_a_task_answered_in_another_mode_is_not_compared(judge, runs):
    path = runs[1] / "manifest.json"
    data = json.loads(path.read_text())
    data["tasks"]["trust/fairness"]["mode"] = "compat"
    path.write_text(json.dumps(data))
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.code == "not-compared" and "mode fixed against compat" in row.sentence


@pytest.mark.parametrize("direction, sign", [("higher", -1), ("lower", 1)])
def test_marks_below_0_are_measured_against_denses_size_and_keep_their_direction(judge, runs, direction, sign):
    """Dense about -2, compressed 1.5 times that: 50 % of dense, worse where higher is better."""
    for run, times in zip(runs, (1.0, 1.5), strict=True):
        edit_lines(run / FILE, lambda i, line, times=times: {**line, "marks": {"right": -times * (2 + i % 5 / 10)}})
        data = json.loads((run / "results.json").read_text())
        data["tasks"]["trust/fairness"]["metrics"]["right"]["direction"] = direction
        (run / "results.json").write_text(json.dumps(data))
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.unit == "% of dense" and row.change.value == pytest.approx(sign * 50.0)


def test_a_gap_of_two_groups_is_counted_in_points_however_small_dense_has_it(judge, runs):
    """P(yes) times 2 for one group and -2 for the other: the mean is the gap, here 0.04 against 0.08."""
    for run, gap in zip(runs, (0.04, 0.08), strict=True):
        edit_lines(
            run / FILE,
            lambda i, line, gap=gap: {**line, "marks": {"right": 2 * (0.5 + gap) if i % 2 else -2 * 0.5}},
        )
        data = json.loads((run / "results.json").read_text())
        data["tasks"]["trust/fairness"]["metrics"]["right"]["direction"] = "lower"
        (run / "results.json").write_text(json.dumps(data))
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.unit == "points" and row.change.value == pytest.approx(-4.0)
    assert row.dense.value == pytest.approx(0.04) and row.compressed.value == pytest.approx(0.08)
