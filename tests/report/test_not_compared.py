"""What can't be compared: runs made in another way, tasks of other versions, items that one run only has."""

import json
from dataclasses import replace

import pytest

from llmc.errors import Exit, NotComparable
from tests.judging.test_judge import ONE, made, row_of
from tests.report.made_up_runs import DENSE, GPTQ, edit, edit_lines, write_run


@pytest.fixture
def dense(tmp_path):
    return write_run(tmp_path / "dense", replace(DENSE, n=200, tasks=ONE))


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("mode", "compat", "mode"),
        ("template", "chatml", "template"),
        ("tokenizer_sha256", "00", "tokenizer"),
        ("batch_tokens", 1, "batch_size"),
        ("decoding", {"temperature": 1.0}, "decoding"),
    ],
)
def test_runs_made_in_another_way_are_refused_with_what_differs(dense, judge, tmp_path, key, value, said):
    run = made(tmp_path / "a")
    edit(run / "manifest.json", **{key: value})
    with pytest.raises(NotComparable, match=said) as refused:
        judge(dense, [run])
    assert refused.value.exit_code == Exit.NOT_COMPARABLE


def test_other_seeds_are_compared_on_purpose(dense, judge, tmp_path):
    run = made(tmp_path / "a")
    edit(run / "manifest.json", seed=5, decoding={"temperature": 0.0, "seed": 5})
    assert "different seeds" in judge(dense, [run]).comparison.notes[0]


def not_compared(compared):
    return {r.name: r.sentence for r in compared.comparison.runs[0].readings if r.code == "not-compared"}


def test_a_task_of_another_version_is_not_compared_and_the_rest_is(dense, judge, tmp_path):
    run = made(tmp_path / "a")
    data = json.loads((run / "manifest.json").read_text())
    data["tasks"]["trust/fairness"]["version"] = 2
    (run / "manifest.json").write_text(json.dumps(data))
    compared = judge(dense, [run])
    assert "version 1 of the task against version 2" in not_compared(compared)["fairness"]
    assert row_of(compared, "kick/closed_book").code == "kept"
    assert compared.comparison.runs[0].exit_code == Exit.NOT_COMPARABLE


def test_changed_prompts_are_counted(dense, judge, tmp_path):
    run = made(tmp_path / "a")
    edit_lines(
        run / "samples/trust/fairness.jsonl",
        lambda i, line: {**line, "prompt_sha256": "other" if i < 12 else line["prompt_sha256"]},
    )
    assert "12 of 200 items have a different prompt hash" in not_compared(judge(dense, [run]))["trust/fairness"]


def test_items_of_one_run_only_are_counted_and_too_many_are_refused(dense, judge, tmp_path):
    run = made(tmp_path / "a")
    file = run / "samples/trust/fairness.jsonl"
    edit_lines(file, lambda i, line: None if i == 0 else line)
    health = next(h for h in judge(dense, [run]).comparison.runs[0].health if h.task == "trust/fairness")
    assert (health.n_paired, health.n_only_dense, health.not_compared) == (199, 1, None)
    edit_lines(file, lambda i, line: None if i < 30 else line)
    assert "only 169 of 200 items" in not_compared(judge(dense, [run]))["trust/fairness"]


def test_items_that_one_run_only_could_be_marked_on_are_not_dropped_unequally(dense, judge, tmp_path):
    run = made(tmp_path / "a")
    edit_lines(
        run / "samples/trust/fairness.jsonl",
        lambda i, line: {**line, "marks": {"right": None}} if i < 20 else line,
    )
    assert "20 of 200 items could be marked in one run only" in not_compared(judge(dense, [run]))["fairness"]


def test_runs_without_a_common_task_are_refused(dense, judge, tmp_path):
    run = write_run(tmp_path / "a", replace(GPTQ, n=50, tasks=("kick/open_book",)))
    with pytest.raises(NotComparable, match="share no task"):
        judge(dense, [run])


def test_a_task_that_is_missing_is_said_and_never_passes(dense, judge, tmp_path):
    run = write_run(tmp_path / "a", replace(GPTQ, n=200, tasks=ONE[:1], harm={}))
    compared = judge(dense, [run])
    assert compared.comparison.runs[0].missing == ["trust/fairness"]
    assert "only the dense run has it" in not_compared(compared)["fairness"]
    assert compared.comparison.runs[0].exit_code == Exit.NOT_COMPARABLE
