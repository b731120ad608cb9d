"""What is shown of a flipped item is what was marked: for every task of ours, found by changing one channel alone."""

import gzip
import io
import json
import math
import re
from dataclasses import replace
from itertools import islice

import pytest
from rich.console import Console

from llmc.evaluate.task import Answer, TaskContext
from llmc.jobs.own_tasks import own_tasks
from llmc.judging.flip_text import option_lines, text_of
from llmc.judging.flips import collect, texts
from llmc.report.markdown import report_markdown
from llmc.report.page import PageOptions, page
from llmc.report.terminal import print_comparison
from llmc.report.write import write_report
from tests.report.made_up_runs import DENSE, GPTQ, edit, edit_lines, write_run
from tests.report.test_page import unpacked

MCQ = "kick/multiple_choice"


def answers(item, *, text, best):
    """Texts that say `text`, and options of which the one at `best` is likeliest."""
    options = [ask for ask in item.requests if ask.kind == "loglikelihood"]
    n = len(item.meta.get("options") or ()) or 4
    found = []
    for ask in item.requests:
        if ask.kind == "generate_until":
            found.append(Answer(text=text, n_tokens=3))
        elif ask.kind == "loglikelihood":
            found.append(Answer(loglikelihood=-0.1 if options.index(ask) % n == best else -9.0, n_tokens=1))
        else:
            found.append(Answer(loglikelihood=-10.0 * (1 + best), n_tokens=4))
    return found


@pytest.mark.parametrize("name", own_tasks())
def test_a_task_declares_the_channel_that_its_primary_mark_hangs_on(name):
    """The oracle: of texts and likelihoods one is changed, and the primary mark of some item moves or does not."""
    task = own_tasks()[name]
    items = list(islice(task.items(TaskContext(scale="mini")), 40))
    primary = getattr(task, "primary_at", {}).get("mini", task.primary)
    moved = {"text": False, "likelihood": False}
    for item in items:
        gold = item.gold[0] if isinstance(item.gold, tuple) else str(item.gold or "I agree.")
        base = task.mark(item, answers(item, text=f" {gold}", best=0)).marks.get(primary)
        for text in ("you flob", "", " I disagree."):
            moved["text"] |= task.mark(item, answers(item, text=text, best=0)).marks.get(primary) != base
        moved["likelihood"] |= task.mark(item, answers(item, text=f" {gold}", best=1)).marks.get(primary) != base
    declared = task.metrics[primary].channel
    asks = {ask.kind for item in items for ask in item.requests}
    if "loglikelihood_rolling" in asks:
        assert declared in (None, "perplexity") and not moved["text"]
    else:
        channel = declared or ("text" if "generate_until" in asks else "likelihood")
        assert moved == {"text": channel == "text", "likelihood": channel == "likelihood"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The model that lost writes the right answer all the same: the likelihood is what was marked."""
    folder = tmp_path_factory.mktemp("flips")
    dense = write_run(folder / "dense", replace(DENSE, n=200, tasks=(MCQ, "kick/closed_book")))
    made = replace(GPTQ, n=200, tasks=(MCQ, "kick/closed_book"), harm={MCQ: 0.2}, lost=0.05)
    other = write_run(folder / "other", made)
    for path in (dense, other):
        edit_lines(path / f"samples/{MCQ}.jsonl", lambda i, line: {**line, "answer": line["gold"]})
        edit(path / "results.json", **{f"tasks__{MCQ}__metrics__accuracy__channel": "likelihood"})
    return dense, other


def test_a_lost_item_shows_its_options_and_never_the_text_beside_them(judge, runs):
    compared = judge(runs[0], [runs[1]])
    lost = [flip for flip in collect(compared.joined).items if flip.task == MCQ and flip.kind == "lost"]
    assert len(lost) > 20
    files = [{line["id"]: line for line in map(json.loads, (run / f"samples/{MCQ}.jsonl").open())} for run in runs]
    for flip, text in zip(lost, texts(compared.joined, lost), strict=True):
        left, right = (file[flip.item] for file in files)
        assert left["answer"] == right["answer"] == text.gold and text.dense == text.gold != text.compressed
        assert text.wrote == (text.gold, text.gold)
        assert [option.text for option in text.options] == left["options"]
        for place, option in enumerate(text.options):
            assert option.dense == pytest.approx(left["loglikelihoods"][place], rel=1e-4)
            assert option.compressed == pytest.approx(right["loglikelihoods"][place], rel=1e-4)
        assert text.options[text.chosen_dense].dense == max(option.dense for option in text.options)
        assert text.options[text.chosen_compressed].compressed == max(option.compressed for option in text.options)
        assert text.right == text.chosen_dense != text.chosen_compressed


def test_page_markdown_terminal_and_file_show_the_same_likelihoods(judge, runs, tmp_path):
    compared = judge(runs[0], [runs[1]])
    item = next(one for one in compared.comparison.runs[0].flipped if one.task == MCQ)
    lines = option_lines(item)
    assert sum("gold" in line for line in lines) == sum("dense's choice" in line for line in lines) == 1
    flips = collect(compared.joined)
    html = page(compared, flips, PageOptions()).replace("&#39;", "'")
    console = Console(file=io.StringIO(), width=80)
    print_comparison(compared.comparison, console)
    markdown = re.sub(r"\\(.)", r"\1", report_markdown(compared.comparison))
    for line in lines:
        assert f"<li>{line}</li>" in html and f"  - {line}" in markdown and f"    {line}" in console.file.getvalue()
    assert "marked by likelihood of the options" in console.file.getvalue()
    assert "by likelihood of the options: log-likelihood, dense → compressed" in markdown
    block = unpacked(re.search(r'class="text">([^<]+)<', html).group(1))
    index = unpacked(re.search(r'id="index">([^<]+)<', html).group(1))
    place = index["id"].index(item.id)
    options, right, first, second = block["options"][place]
    assert options == [[o.text, o.dense, o.compressed] for o in item.options]
    assert (right, first, second) == (item.right, item.chosen_dense, item.chosen_compressed)
    assert index["channel"][index["task"][place]] == "likelihood of the options"
    write_report(compared, tmp_path / "r", PageOptions(), overwrite=False)
    told = [json.loads(line) for line in gzip.decompress((tmp_path / "r/items.jsonl.gz").read_bytes()).splitlines()]
    stored = next(line for line in told if line["id"] == item.id)
    assert stored["marked_by"] == "likelihood" and stored["dense_wrote"] == item.gold
    assert stored["options"] == [{"text": a, "dense": b, "compressed": c} for a, b, c in options]


def test_redacted_reports_hold_no_options(judge, runs, tmp_path):
    write_report(judge(runs[0], [runs[1]]), tmp_path / "r", PageOptions(redact=True), overwrite=False)
    for name in ("comparison.json", "report.md"):
        assert "Aldermoor" not in (tmp_path / "r" / name).read_text()
    assert b"Aldermoor" not in gzip.decompress((tmp_path / "r/items.jsonl.gz").read_bytes())


def test_another_wrong_answer_is_another_option_where_options_compete(judge, runs):
    """Both wrote the right text; what changed is which wrong option is likeliest."""
    pair = judge(runs[0], [runs[1]]).joined[0].tasks[MCQ]
    assert pair.channel == "likelihood"
    assert pair.changed.sum() == (pair.dense.choices != pair.other.choices).sum() > 0
    assert (pair.dense.answers == pair.other.answers).all()


@pytest.mark.parametrize(
    "gold, options, right, shown",
    [
        ("B", ["mason", "judge"], 1, "B. judge"),
        ("B", ["B", "A"], 0, "B"),
        ("wrong", ["not wrong.", "wrong."], 1, "wrong."),
        ("1", ["no", "yes"], 1, "yes"),
        ("1", ["1", "0"], 0, "1"),
        (["yes", "Yes"], ["No", "Yes"], 1, "Yes"),
        ("neither", ["No", "Yes"], None, "neither"),
    ],
)
def test_gold_is_found_by_its_text_before_its_letter_before_its_number(judge, runs, gold, options, right, shown):
    pair = judge(runs[0], [runs[1]]).joined[0].tasks[MCQ]
    line = {
        "gold": gold,
        "options": options,
        "choice": 0,
        "loglikelihoods": [-1.0, None],
        "answer": "x",
        "question": "q",
    }
    text = text_of(pair, line, line)
    assert (text.right, text.gold) == (right, shown)
    assert text.options[1].dense is None and option_lines(text)[1].startswith(text.options[1].text + ": none → none")


def test_a_windows_perplexity_is_shown_and_not_its_nats(judge, runs, tmp_path):
    import shutil

    folders = [tmp_path / name for name in ("dense", "other")]
    for source, folder, nats in zip(runs, folders, (1.0, 1.5), strict=True):
        shutil.copytree(source, folder)
        file, name = folder / "samples/kick/closed_book.jsonl", "nats_per_token"
        edit_lines(
            file, lambda i, line, nats=nats, name=name: {**line, "marks": {name: nats + i / 1e3}, "answer": None}
        )
        facts = {"value": nats, "stderr": 0.1, "n": 200, "direction": "lower", "kind": "mean", "range": [0.0, None]}
        beside = {**facts, "value": math.exp(nats), "kind": "statistic", "range": [1.0, None]}
        data = json.loads((folder / "results.json").read_text())
        data["tasks"]["kick/closed_book"] |= {"metrics": {name: facts, "perplexity": beside}, "primary": name}
        (folder / "results.json").write_text(json.dumps(data))
    compared = judge(folders[0], [folders[1]])
    one = compared.comparison.runs[0]
    row = next(r for r in one.readings if r.name == "kick/closed_book")
    assert (row.metric, row.unit) == ("perplexity", "× dense")
    assert row.change.value == pytest.approx(math.exp(0.5)) and row.tolerance == pytest.approx(1.05)
    assert row.compressed.value / row.dense.value == pytest.approx(math.exp(0.5))
    flip = next(f for f in collect(compared.joined).items if f.task == "kick/closed_book")
    (text,) = texts(compared.joined, [flip])
    n = int(flip.item.rpartition("-")[2])
    assert (text.dense, text.compressed) == tuple(f"perplexity {math.exp(nats + n / 1e3):.4g}" for nats in (1.0, 1.5))
    named = (
        'rule = [{{ id = "p", level = "task", metric = "{}", tolerance = {{ relative = 0.05, floor_points = 1 }} }}]'
    )
    rows = [
        judge(*[folders[0], [folders[1]]], named.format(m)).comparison.runs[0].rules
        for m in ("perplexity", "nats_per_token")
    ]
    assert rows[0][0].change == rows[1][0].change and rows[0][0].found == rows[1][0].found
    said = row.found + row.sentence + one.headline + report_markdown(compared.comparison)
    assert "1.65 × dense" in said and "% of dense" not in row.found and "nats" not in row.found + row.sentence
