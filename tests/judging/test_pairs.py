"""Joining two runs on their items, at the ends: items and marks of one run only, other metrics, marks below 0."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tests.report.made_up_runs import DENSE, GPTQ, edit_lines, write_run

ONE = ("kick/closed_book", "trust/fairness")
FILE = "samples/trust/fairness.jsonl"


@pytest.fixture
def runs(tmp_path):
    dense = write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=ONE))
    return dense, write_run(tmp_path / "a", replace(GPTQ, n=200, tasks=ONE, harm={}))


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
        edit_metric(run, kind="mean", direction=direction)
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.unit == "% of dense" and row.change.value == pytest.approx(sign * 50.0)


def edit_metric(run, **facts):
    data = json.loads((run / "results.json").read_text())
    data["tasks"]["trust/fairness"]["metrics"]["right"] |= facts
    (run / "results.json").write_text(json.dumps(data))


@pytest.mark.parametrize("possible", [[0.0, 1.0], None])
def test_levels_and_changes_are_shown_within_what_is_possible(judge, runs, possible):
    """Three clusters near both ends; a run from before ranges were written shows them as they are."""
    for run, marks in zip(runs, ((0.9, 0.1, 0.8), (0.0, 0.9, 0.1)), strict=True):
        edit_lines(
            run / FILE,
            lambda i, line, marks=marks: {**line, "marks": {"right": marks[i % 3]}, "cluster": f"c{i % 3}"},
        )
        edit_metric(run, kind="mean", **({} if possible is None else {"range": possible}))
    _, row = fairness(judge(runs[0], [runs[1]]))
    edges = [row.dense.low, row.dense.high, row.change.low / 100, row.change.high / 100]
    if possible is None:
        assert edges[0] < 0 and edges[1] > 1 and edges[2] < -1 and edges[3] > 1
    else:
        assert edges == [0.0, 1.0, -1.0, 1.0] and "−100.0 to +100.0" in row.sentence


def test_a_statistics_interval_in_an_old_run_is_shown_within_its_range(judge, runs):
    for run in runs:
        edit_metric(run, kind="statistic", range=[0.0, 1.0], value=0.95, stderr=0.6, ci95=[-0.2, 2.1])
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert (row.dense.low, row.dense.high) == (0.0, 1.0) and (row.change.low, row.change.high) == (-100.0, 100.0)


@pytest.mark.parametrize(
    ("possible", "factor", "unit", "change"),
    [
        ([0.0, 1.0], 1, "points", -20),
        ([0.0, 100.0], 100, "points", -20),
        ([-1.0, 1.0], 1, "points", -20),
        ([0.0, None], 1, "% of dense", -50),
        ([None, None], 1, "points", -20),  # nothing is known of it, and all marks lie in [0, 1]
    ],
)
@pytest.mark.parametrize("kind", ["mean", "statistic"])
def test_whether_a_change_is_in_points_is_declared_and_not_guessed(judge, runs, possible, factor, unit, change, kind):
    """Nats below 1 are no shares, a score of 0 to 100 is one."""
    for run, level in zip(runs, (0.4, 0.2), strict=True):

        def marked(i, line, level=level):
            mark = factor * (level + (i % 3 - 1) / 10)
            return {**line, "marks": {"right": mark}, "cluster": None}

        edit_lines(run / FILE, marked)
        edit_metric(run, kind=kind, range=possible, value=factor * level, stderr=0.01 * factor, ci95=None)
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.unit == unit and row.change.value == pytest.approx(change, abs=0.3)
    assert row.tolerance == (3.0 if unit == "points" else 5.0)


def _with_gaps(run, gap, spread=0.1):
    """Marks of a gap between two groups: plus or minus twice a probability, so that their mean is the gap."""

    def marked(i, line):
        side = 1 if i % 2 else -1
        p = 0.5 + side * gap / 2 + spread * (i // 2 % 5 - 2) / 10
        return {**line, "marks": {"right": 2 * side * p}, "cluster": None}

    edit_lines(run / FILE, marked)
    data = json.loads((run / "results.json").read_text())
    data["tasks"]["trust/fairness"]["metrics"]["right"] |= {"kind": "gap", "direction": "lower", "value": gap}
    (run / "results.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    "dense, compressed, change", [(0.3, 0.1, 20), (-0.3, -0.1, 20), (-0.3, 0.3, 0), (0.3, -0.6, -30), (0.0, -0.2, -20)]
)
def test_a_gap_is_compared_by_its_size_in_points_whichever_group_it_favours(judge, runs, dense, compressed, change):
    """By the signed mean a gap that closes from below would read as a loss, and one that doubles there as a gain."""
    for run, gap in zip(runs, (dense, compressed), strict=True):
        _with_gaps(run, gap)
    health, row = fairness(judge(runs[0], [runs[1]]))
    assert row.unit == "points" and row.change.value == pytest.approx(change)
    assert (row.dense.value, row.compressed.value) == (pytest.approx(abs(dense)), pytest.approx(abs(compressed)))
    assert not health.notes


def test_gaps_of_two_settings_that_lean_to_either_side_do_not_cancel(judge, runs):
    """Dense treats both alike in both settings; compressed prefers one group by 0.4 here and the other there."""
    for run, gap in zip(runs, (0.0, 0.4), strict=True):
        _with_gaps(run, gap)
        edit_lines(
            run / FILE,
            lambda i, line, gap=gap: {
                **line,
                "stratum": f"s{i % 4 // 2}",
                "marks": {"right": line["marks"]["right"] - (2 * gap if i % 4 > 1 else 0)},
            },
        )
    _, row = fairness(judge(runs[0], [runs[1]]))
    assert row.change.value == pytest.approx(-40, abs=1) and row.compressed.value == pytest.approx(0.4, abs=0.01)
    assert row.code == "lost"
