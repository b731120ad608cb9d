"""lm-eval's own tasks in the form of a run, held against `simple_evaluate` on the same model."""

import json
import math

import lm_eval
import pytest
from lm_eval.api.model import LM

from llmc.commands.rendering.eval_table import table
from llmc.errors import UserError
from llmc.evaluate.backends import lm_eval_tasks
from llmc.evaluate.backends.lm_eval_tasks import _metric

SEEDS = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), 0)


class Made(LM):
    """Answers that follow from the prompt alone."""

    def loglikelihood(self, requests):
        return [(-float(len(each.args[1]) + hash_of(each.args[0]) % 7), False) for each in requests]

    def loglikelihood_rolling(self, requests):
        return [-1.5 * len(each.args[0]) - hash_of(each.args[0]) % 5 for each in requests]

    def generate_until(self, requests):
        return [f"so #### {hash_of(each.args[0]) % 3} or {hash_of(each.args[0]) % 4}" for each in requests]


def hash_of(text):
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(text))


def task_file(folder, name, n, body):
    rows = [{"q": f"{name} question {i}", "gold": str(i % 3), "label": i % 3} for i in range(n)]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / f"{name}.yaml").write_text(
        f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder}/{name}.jsonl}}}}\n"
        f"test_split: test\ndoc_to_text: '{{{{q}}}}'\n{body}\n"
    )


FILTERS = """output_type: generate_until
doc_to_target: '{{gold}}'
generation_kwargs: {until: ["|"], max_gen_toks: 8}
filter_list:
  - name: strict
    filter: [{function: regex, regex_pattern: '#### (\\d)'}, {function: take_first}]
  - name: flexible
    filter: [{function: regex, group_select: -1, regex_pattern: '(\\d)'}, {function: take_first}]
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]"""
CHOICES = """output_type: multiple_choice
doc_to_target: label
doc_to_choice: ['a', 'bb', 'cccc']
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    for name, n, body in (("small", 7, FILTERS), ("large", 24, FILTERS), ("one", 9, CHOICES), ("two", 15, CHOICES)):
        task_file(tmp_path, name, n, body)
    for name, members, metric, weigh in (
        ("by_size", "[small, large]", "exact_match", "true"),
        ("by_task", "[small, large]", "exact_match", "false"),
        ("choices", "[one, two]", "acc", "true"),
    ):
        by = "filter_list: [strict, flexible], " if metric == "exact_match" else ""
        (tmp_path / f"group_{name}.yaml").write_text(
            f"group: {name}\ntask: {members}\n"
            f"aggregate_metric_list: [{{metric: {metric}, aggregation: mean, {by}weight_by_size: {weigh}}}]\n"
        )
    return tmp_path


NAMES = ["by_size", "by_task", "choices"]


def test_every_number_is_simple_evaluates_to_the_last_digit(folder):
    manager, compared = lm_eval_tasks.find(NAMES, [folder]), 0
    for asked in NAMES:  # lm-eval takes no task twice, and two groups share theirs
        expected = lm_eval.simple_evaluate(model=Made(), tasks=[asked], task_manager=manager, **SEEDS)
        found = lm_eval_tasks.evaluate(Made(), [asked], manager, None, 0)
        rows = {name: part.results["metrics"] for name, part in found.tasks.items()}
        rows |= {name: group["metrics"] for name, group in found.groups.items()}
        assert set(rows) == set(expected["results"])
        for name, metrics in rows.items():
            for key, value in expected["results"][name].items():
                metric, comma, by = key.partition(",")
                if not comma or metric.endswith("_stderr"):
                    continue
                ours = metrics[metric if by == "none" else key]
                assert (ours["value"], ours["stderr"]) == (value, expected["results"][name][f"{metric}_stderr,{by}"])
                compared += 1
    assert compared == 2 * (2 * 2 + 2) + 2 * 2 + 1  # tasks and a group by two filters, twice; two metrics; a group


def test_groups_weigh_by_size_or_not_and_pool_their_errors(folder):
    manager = lm_eval_tasks.find(NAMES, [folder])
    one, other = (lm_eval_tasks.evaluate(Made(), [name], manager, None, 0) for name in NAMES[:2])
    small, large = (one.tasks[name].results["metrics"]["exact_match,strict"] for name in ("small", "large"))
    by_size = one.groups["by_size"]["metrics"]["exact_match,strict"]
    by_task = other.groups["by_task"]["metrics"]["exact_match,strict"]
    assert small["value"] != large["value"]
    assert by_size["value"] == pytest.approx((7 * small["value"] + 24 * large["value"]) / 31)
    assert by_task["value"] == pytest.approx((small["value"] + large["value"]) / 2)
    pooled = (6 * 7 * small["stderr"] ** 2 + 23 * 24 * large["stderr"] ** 2) / 29 / 31
    assert by_size["stderr"] == pytest.approx(math.sqrt(pooled)) and by_size["n"] == 31
    assert by_task["stderr"] == pytest.approx(math.hypot(small["stderr"], large["stderr"]) / 2)
    assert one.groups["by_size"]["tasks"] == ["small", "large"]
    assert one.groups["by_size"]["suite"] == one.tasks["small"].results["suite"] == lm_eval_tasks.SUITE


def test_two_groups_with_a_task_in_common_are_refused_in_a_sentence(folder):
    with pytest.raises(UserError, match="Duplicate task 'small'"):
        lm_eval_tasks.evaluate(Made(), NAMES, lm_eval_tasks.find(NAMES, [folder]), None, 0)


def test_a_line_holds_the_marks_of_all_filters(folder):
    part = lm_eval_tasks.evaluate(Made(), ["large"], lm_eval_tasks.find(["large"], [folder]), None, 0).tasks["large"]
    assert part.results["primary"] == "exact_match,strict" and len(part.samples) == 24
    for metric in ("exact_match,strict", "exact_match,flexible"):
        marks = [line["marks"][metric] for line in part.samples]
        assert sum(marks) / 24 == pytest.approx(part.results["metrics"][metric]["value"])
        assert part.results["metrics"][metric]["kind"] == "proportion"
    assert any(line["marks"]["exact_match,strict"] != line["marks"]["exact_match,flexible"] for line in part.samples)


def test_a_single_filter_needs_no_name(folder):
    part = lm_eval_tasks.evaluate(Made(), ["one"], lm_eval_tasks.find(["one"], [folder]), None, 0).tasks["one"]
    assert list(part.results["metrics"]) == ["acc", "acc_norm"] and part.results["primary"] == "acc"


def test_the_table_shows_groups(folder):
    found = lm_eval_tasks.evaluate(Made(), ["by_size"], lm_eval_tasks.find(["by_size"], [folder]), None, 0)
    tasks = {name: part.results for name, part in found.tasks.items()}
    printed = table({"tasks": tasks, "groups": found.groups}, width=200)
    row = next(line for line in printed.splitlines() if line.startswith("by_size"))
    assert "exact_match,strict" in row and "group of 2" in row


def test_a_metric_that_is_no_number_is_undefined_in_the_results():
    for value in (math.nan, math.inf):
        assert _metric("perplexity,none", value, None, [None], {"perplexity": False})["value"] is None


def test_a_mean_of_marks_gets_its_error():
    found = _metric("acc,none", 0.75, None, [0.0, 1.0, 1.0, 1.0], {"acc": True})
    assert found["kind"] == "proportion" and found["stderr"] is not None
    assert _metric("acc,none", 0.75, 0.125, [0.0, 1.0, 1.0, 1.0], {})["stderr"] == 0.125
