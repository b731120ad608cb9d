"""Rules about rates, and budgets: flips beside the noise of dense, divergence, bytes, repeated timings."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from llmc.errors import UserError
from llmc.evaluate.stats.verdict import decide_limit
from llmc.judging.budgets import ratio_interval
from llmc.judging.pairs import divergences
from tests.report.made_up_runs import DENSE, GPTQ, write_run

TASKS = ("kick/closed_book", "kick/multiple_choice")


@pytest.fixture
def runs(tmp_path):
    dense = write_run(tmp_path / "dense", replace(DENSE, n=500, tasks=TASKS))
    return dense, write_run(tmp_path / "a", replace(GPTQ, n=500, tasks=TASKS, gained=0.02, lost=0.03, harm={}))


def rules(judge, runs, rule, more=""):
    return judge(runs[0], [runs[1]], f"rule = [{rule}]\n{more}").comparison.runs[0].rules


@pytest.mark.parametrize(
    "low, high, limit, code",
    [
        (0.0, 0.05, 0.05, "kept"),
        (0.06, 0.1, 0.05, "lost"),
        (0.04, 0.06, 0.05, "undecided"),
        (0.05, 0.06, 0.05, "undecided"),
        (None, 1, 1, "undecided"),
    ],
)
def test_a_limit_is_decided_by_the_whole_interval(low, high, limit, code):
    assert decide_limit(low, high, limit).code == code


@pytest.mark.parametrize("limit, code", [(0.2, "kept"), (0.05, "undecided"), (0.01, "lost")])
def test_flip_rates(judge, runs, limit, code):
    rows = rules(judge, runs, f'{{ id = "f", kind = "flips", max_rate = {limit} }}')
    assert [r.code for r in rows] == [code, code] and {r.name for r in rows} == set(TASKS)


def test_flips_above_the_noise_of_dense_are_paired_with_it(judge, runs, tmp_path):
    """The same model as noise run and as compressed run flips on the same items: nothing above noise."""
    noise = f'[compare]\nnoise_run = "{runs[1]}"\n'
    rows = rules(judge, runs, '{ id = "f", kind = "flips", over_noise = 0.01 }', noise)
    assert [r.code for r in rows] == ["kept", "kept"] and "flips above noise 0%" in rows[0].found.replace(" %", "%")
    again = write_run(tmp_path / "again", replace(DENSE, n=500, tasks=TASKS))
    rows = rules(judge, runs, '{ id = "f", kind = "flips", over_noise = 0.01 }', f'[compare]\nnoise_run = "{again}"\n')
    assert "kept" not in {r.code for r in rows}
    readings = judge(runs[0], [runs[1]], f'[compare]\nnoise_run = "{again}"').comparison.runs[0].readings
    assert {r.change.noise_flip_rate for r in readings if r.level == "task"} == {0.0}


def test_a_limit_above_the_noise_is_not_dropped_where_the_noise_run_lacks_the_task(judge, runs, tmp_path):
    again = write_run(tmp_path / "again", replace(DENSE, n=500, tasks=TASKS[:1]))
    rule = '{ id = "f", kind = "flips", max_rate = 0.5, over_noise = 0.01 }'
    with pytest.raises(UserError, match="the noise run has no task kick/multiple_choice"):
        rules(judge, runs, rule, f'[compare]\nnoise_run = "{again}"\n')


def test_what_the_noise_run_could_not_be_marked_on_is_no_noise(judge, runs, tmp_path):
    """60 of 500 items without a mark there would else count as flips, and hide as many of the compressed model's."""
    again = write_run(tmp_path / "again", replace(DENSE, n=500, tasks=TASKS))
    path = again / f"samples/{TASKS[0]}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[:60]:
        line["marks"] = {"em": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    noise = f'[compare]\nnoise_run = "{again}"\n'
    rows = rules(judge, runs, '{ id = "f", kind = "flips", over_noise = 0.5 }', noise)
    flips = rules(judge, runs, '{ id = "f", kind = "flips", max_rate = 0.5 }')
    found = {row.name: float(row.found.split()[3]) for row in rows}[TASKS[0]]
    assert found == pytest.approx({row.name: float(row.found.split()[1]) for row in flips}[TASKS[0]], abs=1.5)


def test_divergence_over_options_is_the_sum_by_hand(judge, runs):
    joined = judge(runs[0], [runs[1]]).joined[0]
    pair = joined.tasks["kick/multiple_choice"]
    found, over = divergences(pair)
    assert over == "answer options"
    for k in (0, 17, 400):
        a = pair.dense.loglikelihoods[pair.dense_rows[k]]
        b = pair.other.loglikelihoods[pair.other_rows[k]]
        p = [math.exp(x) / sum(map(math.exp, a)) for x in a]
        q = [math.exp(x) / sum(map(math.exp, b)) for x in b]
        assert found[k] == pytest.approx(sum(x * math.log(x / y) for x, y in zip(p, q, strict=True)), abs=1e-12)
    assert found.min() >= -1e-12


def test_stored_divergences_come_first_and_their_mean_is_limited(judge, runs):
    file = runs[1] / "samples/kick/closed_book.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**line, "kl": 0.01 + 0.001 * (i % 7)}) + "\n" for i, line in enumerate(lines)))
    rule = '{{ id = "d", kind = "divergence", task = "kick/closed_book", max_mean_nats = {} }}'
    assert [r.code for r in rules(judge, runs, rule.format(0.02))] == ["kept"]
    rows = rules(judge, runs, rule.format(0.005))
    assert rows[0].code == "lost" and "next-token distribution" in rows[0].sentence


def test_a_rule_that_matches_nothing_never_passes(judge, runs):
    with pytest.raises(UserError, match="no likelihoods stored"):
        rules(judge, runs, '{ id = "d", kind = "divergence", task = "kick/closed_book", max_mean_nats = 0.1 }')
    with pytest.raises(UserError, match="matches nothing in mini"):
        rules(judge, runs, '{ id = "x", suite = "trust", tolerance = { points = 1 } }')


def bench(path, values, machine="A"):
    (path / "bench.json").write_text(json.dumps({"machine": machine, "metrics": {"decode_tokens_per_s": values}}))


@pytest.mark.parametrize(
    "compressed, machine, code",
    [
        ([15.0, 15.2, 14.9, 15.1, 15.0], "A", "kept"),
        ([11.0, 11.1, 10.9, 11.0, 11.0], "A", "lost"),
        ([11.0, 16.0, 10.0, 17.0, 13.0], "A", "undecided"),
        ([15.0, 15.2], "A", "not-compared"),
        ([15.0, 15.2, 14.9, 15.1, 15.0], "B", "not-compared"),
    ],
)
def test_speed_is_decided_over_repeats_on_one_machine(judge, runs, compressed, machine, code):
    bench(runs[0], [10.0, 10.1, 9.9, 10.0, 10.0])
    bench(runs[1], compressed, machine)
    more = 'budget = [{ id = "speed", metric = "decode_tokens_per_s", min_ratio = 1.3 }]'
    compared = judge(runs[0], [runs[1]], "rule = []\n" + more).comparison.runs[0]
    assert compared.rules[0].code == code
    assert (compared.speed_ratio is None) == (machine == "B")


@pytest.mark.parametrize(
    "limits, code",
    [
        ("min = 14.0", "kept"),
        ("min = 16.0", "lost"),
        ("max = 16.0", "kept"),
        ("max = 14.0", "lost"),
        ("min = 15.0", "undecided"),
        ("min = 14.0, min_ratio = 2.0", "lost"),  # the worst of several limits decides
        ("min_ratio = 1.3, min = 15.0", "undecided"),
    ],
)
def test_absolute_speeds_and_several_limits(judge, runs, limits, code):
    bench(runs[0], [10.0, 10.1, 9.9, 10.0, 10.0])
    bench(runs[1], [15.0, 15.2, 14.9, 15.1, 15.0])
    budget = f'rule = []\nbudget = [{{ id = "s", metric = "decode_tokens_per_s", {limits} }}]'
    assert judge(runs[0], [runs[1]], budget).comparison.runs[0].rules[0].code == code


def test_the_ratio_of_timings_is_the_t_interval_of_its_logarithm():
    dense, other = [10.0, 10.1, 9.9, 10.0], [15.0, 15.2, 14.9, 15.1]
    logs = np.log(other) - np.log(dense)
    low, high = stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs))
    assert ratio_interval(dense, other, 0.95) == pytest.approx(np.exp([logs.mean(), low, high]))


def test_sizes_are_exact_and_missing_ones_never_pass(judge, runs):
    budget = 'rule = []\nbudget = [{{ id = "size", metric = "{}", {} }}]'

    def code(metric, limit):
        return judge(runs[0], [runs[1]], budget.format(metric, limit)).comparison.runs[0].rules[0].code

    exact = 2_330_000 / 8_400_000
    assert code("artifact_bytes", f"max_ratio = {exact!r}") == "kept"
    assert code("artifact_bytes", f"max_ratio = {exact - 1e-9!r}") == "lost"
    assert code("artifact_bytes", "max = 2330000") == "kept" and code("artifact_bytes", "max = 2329999") == "lost"
    assert code("n_parameters", "min_ratio = 1.0") == "kept"
    data = json.loads((runs[1] / "manifest.json").read_text())
    del data["model"]["bytes_on_disk"]
    (runs[1] / "manifest.json").write_text(json.dumps(data))
    assert code("artifact_bytes", "max_ratio = 1.0") == "not-compared"
