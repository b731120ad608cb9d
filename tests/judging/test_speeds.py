"""What benches beside runs become in a comparison and on the page."""

import json
import math

import pytest

from llmc.evaluate.speed.bench import _summary
from llmc.judging.flips import collect
from llmc.report.page import PageOptions, page
from tests.report.made_up_runs import write_family

DENSE = {
    "decode_tokens_per_s": [10.0, 11.0, 12.0],
    "decode_tokens_per_s_batch_1": [10.0, 11.0, 12.0],
    "decode_tokens_per_s_batch_32": [100.0, 100.0, 100.0],
    "prefill_tokens_per_s_batch_1": [50.0, 50.0, 50.0],
    "resident_bytes": [4e6, 4e6, 4e6],
    "process_bytes": [9e6],
    "load_s": [1.0, 2.0, 1.0],
    "something_else": [1.0],
}


@pytest.fixture
def runs(tmp_path):
    dense, others = write_family(tmp_path, n=40)
    return dense, others[0]


def bench(folder, metrics, **more):
    known = {"machine": "A", "session": "s", "kernels": "fast", "dtype": "bfloat16"}
    (folder / "bench.json").write_text(json.dumps({**known, "metrics": metrics, **more}))


def test_every_metric_of_both_is_told_in_its_order_with_median_range_and_ratio(judge, runs):
    bench(runs[0], DENSE)
    bench(runs[1], {**DENSE, "decode_tokens_per_s_batch_1": [30.0, 33.0, 36.0], "resident_bytes": [1e6, 1e6, 1e6]})
    compared = judge(runs[0], [runs[1]])
    found = compared.comparison.runs[0].speeds
    assert [t.name for t in found.timings] == [
        "in memory", "the process that holds it", "load", "prompt, batch 1", "new tokens, batch 1",
        "new tokens, batch 32",
    ]  # fmt: skip
    decode = found.timings[4]
    assert (decode.compressed.median, decode.compressed.least, decode.compressed.most) == (33.0, 30.0, 36.0)
    assert math.isclose(decode.ratio, 3.0) and math.isclose(decode.ratio_low, 3.0) and decode.n == 3
    assert found.timings[0].ratio == pytest.approx(0.25) and found.timings[1].ratio_low is None
    text = page(compared, collect(compared.joined), PageOptions())
    for words in ("Speed and memory, measured", "33 (30 to 36) tokens/s", "1 MB", "on A, bfloat16, packed layers fast"):
        assert words in text
    assert not any("llmc bench measures" in said for said in compared.comparison.runs[0].not_measured)


def test_ratios_are_the_medians_over_turns_that_the_bench_prints(judge, runs):
    """Turn by turn 1, 4 and 2.5: the geometric mean would be 2.15, the ratio of medians 2.73."""
    other = {**DENSE, "decode_tokens_per_s": [10.0, 44.0, 30.0], "decode_tokens_per_s_batch_1": [10.0, 44.0, 30.0]}
    bench(runs[0], DENSE)
    bench(runs[1], other)
    found = judge(runs[0], [runs[1]]).comparison.runs[0]
    told = next(t for t in found.speeds.timings if t.name == "new tokens, batch 1")
    assert (told.ratio, told.ratio_low, told.ratio_high) == (2.5, 1.0, 4.0) and found.speed_ratio == 2.5
    printed = _summary(other["decode_tokens_per_s"], DENSE["decode_tokens_per_s"])
    assert (printed["ratio"], printed["ratio_least"], printed["ratio_most"]) == (2.5, 1.0, 4.0)


@pytest.mark.parametrize(
    "more, words", [({"machine": "B"}, "different machines"), ({"session": "t"}, "different sessions")]
)
def test_benches_that_were_not_taken_in_turns_are_not_compared(judge, runs, more, words):
    bench(runs[0], DENSE)
    bench(runs[1], DENSE, **more)
    budget = 'rule = []\nbudget = [{ id = "v", metric = "decode_tokens_per_s", min_ratio = 0.5, repeats = 3 }]'
    compared = judge(runs[0], [runs[1]], budget)
    found = compared.comparison.runs[0]
    assert found.speeds is None and found.speed_ratio is None
    assert found.rules[0].code == "not-compared" and words in found.rules[0].sentence
    assert "Speed and memory, measured" not in page(compared, collect(compared.joined), PageOptions())
