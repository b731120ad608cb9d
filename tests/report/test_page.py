"""The page as a file: its policy fits its script and style, it names no other place, it fits its budget, it repeats."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace

import pytest

from llmc.errors import UserError
from llmc.judging.flips import collect, texts
from llmc.report.page import PageOptions, page, visible
from llmc.report.svg import Axis, element, mark
from llmc.report.write import write_report
from tests.report.made_up_runs import DENSE, GPTQ, write_run


@pytest.fixture(scope="module")
def text(compared):
    return page(compared, collect(compared.joined), PageOptions())


def unpacked(block):
    return json.loads(gzip.decompress(base64.b64decode(block)))


def test_the_security_policy_holds_the_hashes_of_the_one_script_and_style(text):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text).group(1).replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    for tag, key in (("script", "script-src"), ("style", "style-src")):
        bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert len(bodies) == 1
        digest = base64.b64encode(hashlib.sha256(bodies[0].encode()).digest()).decode()
        assert f"{key} 'sha256-{digest}'" in policy


def test_it_loads_nothing_and_has_no_inline_style_or_handler(text):
    assert not re.search(r"<(link|img|iframe|object|embed|base|form[^>]+action)\b", text)
    assert not re.search(r"\s(src|srcset|style|on\w+)=", text)
    outside = set(re.findall(r"https?://[^\s\"'<)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert outside == set()


def test_the_script_is_small_and_writes_no_markup(text):
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL).group(1)
    assert len(script) < 25_000
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|fetch\(", script)


def test_the_same_comparison_gives_the_same_bytes(compared, text):
    assert page(compared, collect(compared.joined), PageOptions()) == text


def test_the_index_holds_every_flip_and_the_blocks_their_texts(compared, text):
    flips = collect(compared.joined)
    index = unpacked(re.search(r'id="index">([^<]+)<', text).group(1))
    assert index["id"] == [flip.item for flip in flips.items]
    blocks = [unpacked(b) for b in re.findall(r'class="text">([^<]+)<', text)]
    assert sum(len(b["question"]) for b in blocks) == len(flips.items)
    told = texts(compared.joined, flips.items[:3])
    assert blocks[0]["dense"][:3] == [t.dense for t in told]


def test_flips_are_those_of_the_files_and_lost_ones_that_dense_was_sure_of_come_first(compared, family):
    flips = collect(compared.joined).items
    dense, (gptq, *_) = family
    name = "samples/trust/fairness.jsonl"
    before, after = ({x["id"]: x for x in map(json.loads, (p / name).open())} for p in (dense, gptq))
    lost = {i for i in before if before[i]["marks"]["right"] > after[i]["marks"]["right"]}
    found = [f for f in flips if f.run == 0 and f.task == "trust/fairness" and f.kind == "lost"]
    assert {f.item for f in found} == lost
    assert [f.margin for f in found] == sorted((f.margin for f in found), reverse=True)
    assert flips[0].kind == "lost"


def test_a_small_budget_drops_texts_and_says_so_and_a_smaller_one_is_refused(compared):
    flips = collect(compared.joined)
    whole = len(page(compared, flips, PageOptions()).encode())
    blocks = re.findall(r'class="text">([^<]+)<', page(compared, flips, PageOptions()))
    tight = (whole - sum(map(len, blocks)) + 22_000) / 1e6
    short = page(compared, flips, PageOptions(max_mb=tight))
    assert len(short.encode()) <= tight * 1e6
    assert f"Text for 0 of {len(flips.items):,} items" in short
    with pytest.raises(UserError, match="MB without any item's text"):
        page(compared, flips, PageOptions(max_mb=0.1))


def test_redacted_reports_hold_ids_and_no_text(compared, tmp_path):
    write_report(compared, tmp_path, PageOptions(redact=True), overwrite=True)
    for name in ("report.html", "report.md", "comparison.json"):
        assert "founded in the year" not in (tmp_path / name).read_text()
    lines = gzip.decompress((tmp_path / "items.jsonl.gz").read_bytes()).splitlines()
    assert all("question" not in json.loads(line) for line in lines)
    assert 'class="text">' not in (tmp_path / "report.html").read_text()


def test_an_existing_report_is_not_overwritten_unasked(compared, tmp_path):
    write_report(compared, tmp_path, PageOptions(), overwrite=False)
    with pytest.raises(UserError, match="--overwrite"):
        write_report(compared, tmp_path, PageOptions(), overwrite=False)
    write_report(compared, tmp_path, PageOptions(), overwrite=True)


def test_runs_without_sizes_manifests_or_flips_have_a_page_too(judge, tmp_path):
    made = replace(DENSE, n=120, tasks=("kick/summaries",), manifest={"model": {"id": "m"}})
    dense = write_run(tmp_path / "a", made)
    text = page(judge(dense, [dense]), collect([]), PageOptions())
    assert "No item flipped." in text and "What is bought" not in text


def test_text_of_people_is_escaped_in_drawings_and_controls_are_shown():
    assert "<script>" not in element("text", "<script>alert(1)</script>", aria_label='"><b>')
    assert visible("a\u202eb\x00c\ud800") == "a\\u202eb\\u0000c\\ud800"
    assert visible("line\nbreak\ttab 🦙") == "line\nbreak\ttab 🦙"


def test_every_verdict_has_a_mark_of_its_own_shape():
    codes = ("kept", "gained", "lost", "undecided", "collapsed", "not-compared")
    assert len({re.sub(r'class="[^"]+"', "", mark(0.5, 10, code)) for code in codes}) == 6


def test_an_axis_keeps_order_and_round_ticks():
    axis = Axis(-12.0, 3.0)
    assert axis.at(-12.0) < axis.at(-1.0) < axis.at(0.0) < axis.at(3.0) and axis.at(99.0) == axis.at(3.0)
    assert axis.ticks(6) == [-10.0, -5.0, 0.0] and Axis(-0.3, 0.5).ticks(5) == pytest.approx([-0.2, 0.0, 0.2, 0.4])


def test_a_gate_page_shows_the_rules(judge, family):
    dense, others = family
    text = 'rule = [{ id = "trust", suite = "trust", level = "dimension", tolerance = { points = 3.0 } }]'
    compared = judge(dense, others[:1], text)
    shown = page(compared, collect(compared.joined), PageOptions())
    assert "trust / fairness" in shown and "What the gate asked" in shown and GPTQ.label in shown


def test_tasks_of_another_suite_stand_under_its_name_and_are_not_called_knowledge(judge, tmp_path):
    runs = []
    for name, made in (("dense", DENSE), ("other", GPTQ)):
        folder = write_run(tmp_path / name, replace(made, n=120, tasks=("kick/closed_book", "kick/open_book"), harm={}))
        for file in ("manifest.json", "results.json"):
            data = json.loads((folder / file).read_text())
            data["tasks"]["kick/open_book"]["suite"] = "lm-eval"
            (folder / file).write_text(json.dumps(data))
        runs.append(folder)
    compared = judge(runs[0], [runs[1]])
    text = page(compared, collect(compared.joined), PageOptions())
    own = text[text.index("<h3>Tasks of lm-eval</h3>") : text.index("<h3>Where answers flipped</h3>")]
    known = text[text.index("<h3>Knowledge (kick)</h3>") : text.index("<h3>Tasks of lm-eval</h3>")]
    assert "open book" in own and "open book" not in known and "closed book" in known
    assert "nowledge" not in own.split("What the built-in gate")[0] + compared.comparison.runs[0].headline
