"""The page in a real browser, network off: drawn, quiet, searchable, safe, dark, printed, on a phone, by keyboard."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from llmc.report.page import PageOptions
from llmc.report.write import write_report
from tests.report.made_up_runs import DENSE, GPTQ, write_run

HOSTILE = [
    "</script><script>window.pwned=1</script>",
    "<!--<script>",
    "<img src=x onerror=window.pwned=1>",
    "javascript:window.pwned=1",
    "\u202egnp.exe\u202c",
    "half \ud83d and \udc00 half",
    "nul \x00 bell \x07 escape \x1b[31m",
    "السلام عليكم 🦙👩‍👩‍👧",
    "{{ 7*7 }} {% raw %} ${7*7}",
    "x" * 1_000_000,
    "'\"><svg onload=window.pwned=1>",
    '=HYPERLINK("http://a.b")',
]


@pytest.fixture(scope="module")
def report(compared, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    write_report(compared, out, PageOptions(), overwrite=True)
    return (out / "report.html").as_uri()


def test_it_is_quiet_asks_for_nothing_and_draws(browser, report):
    page = browser.open(report)
    assert page.complaints() == []
    assert page.js("document.querySelectorAll('svg.interval').length") > 40
    assert page.js("document.querySelector('td.drawn svg.interval').getBoundingClientRect().width") > 150
    assert page.js("document.querySelectorAll('svg.chart .heat').length") > 100
    assert "GPTQ 4-bit" in page.js("document.title")


def test_the_verdict_and_the_first_items_need_no_script(browser, report):
    page = browser.open(report, scripts=False)
    text = page.js("document.body.innerText")
    assert "None of the 3 runs is a PASS" in text and "Where answers flipped" in page.js("document.body.textContent")
    assert page.js("document.querySelectorAll('#static tbody tr').length") == 50
    assert page.js("getComputedStyle(document.getElementById('static')).display") == "block"
    assert page.complaints() == []


def test_search_and_filters(browser, report):
    page = browser.open(report)
    total = page.js("document.getElementById('count').textContent")
    assert re.fullmatch(r"([\d,]+) of \1 items", total)
    page.js("document.getElementById('q').value = 'founded in the year 1137'")
    page.js("document.getElementById('q').dispatchEvent(new Event('input'))")
    page.wait(f"document.getElementById('count').textContent !== {json.dumps(total)}")
    rows = page.js("[...document.querySelectorAll('.row:not(.head)')].map(r => r.textContent)")
    assert rows and all("00037" in row for row in rows)
    assert page.js("location.hash").startswith("#items?q=founded")
    page.js("document.getElementById('q').value = ''")
    page.js(
        "(() => { const k = document.getElementById('f-kind'); k.value = '1'; k.dispatchEvent(new Event('change')) })()"
    )
    kinds = page.js("[...document.querySelectorAll('.row:not(.head)')].map(r => r.children[1].textContent)")
    assert set(kinds) == {"gained"}


def test_an_item_opens_by_keyboard_with_its_texts(browser, report):
    page = browser.open(report)
    page.js("(() => { const t = document.getElementById('f-task'); t.value = '0'; t.dispatchEvent(new Event('change'));"
            "document.querySelector('.row button').focus() })()")  # fmt: skip
    page.key("Enter", 13)
    page.js("document.activeElement.click && document.querySelector('dialog').open || document.activeElement.click()")
    assert page.js("document.getElementById('detail').open")
    said = page.js("document.getElementById('d-body').innerText")
    assert all(word in said for word in ("Question", "Gold", "Dense", "Compressed", "Which town"))
    page.key("Escape", 27)
    page.wait("!document.getElementById('detail').open")


def test_toxic_text_is_shown_only_when_asked_for(browser, report):
    page = browser.open(report)
    page.js("(() => { const t = document.getElementById('f-task');"
            "t.value = [...t.options].find(o => o.text === 'toxicity').value; t.dispatchEvent(new Event('change'));"
            "document.querySelector('.row button').click() })()")  # fmt: skip
    assert "Which town" not in page.js("document.getElementById('list').textContent")
    assert "Which town" not in page.js("document.getElementById('d-body').textContent")
    page.js("document.querySelector('#d-body button').click()")
    assert "Which town" in page.js("document.getElementById('d-body').textContent")


@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_nothing_scrolls_sideways(browser, report, width):
    page = browser.open(report, width=width, height=800)
    page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.js("document.documentElement.scrollWidth") <= width


def test_targets_on_a_phone_are_large_enough_for_a_finger(browser, report):
    page = browser.open(report, width=375, height=800)
    small = page.js(
        "[...document.querySelectorAll('button, select, input, summary')].filter(e => e.offsetParent)"
        ".map(e => [e.tagName, e.getBoundingClientRect().height]).filter(([, h]) => h < 43.5)"
    )
    assert small == []


@pytest.mark.parametrize("scheme, paper", [("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 20, 23)")])
def test_it_follows_the_readers_colours(browser, report, scheme, paper):
    page = browser.open(report, scheme=scheme)
    assert page.js("getComputedStyle(document.body).backgroundColor") == paper
    kept = {"light": "rgb(0, 114, 178)", "dark": "rgb(86, 180, 233)"}[scheme]
    assert page.js("getComputedStyle(document.querySelector('.fill-kept')).fill") == kept


def test_print_is_light_opens_the_details_and_lists_the_first_items(browser, report):
    page = browser.open(report, scheme="dark", media="print")
    assert page.js("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.js("getComputedStyle(document.getElementById('static')).display") == "block"
    assert page.js("getComputedStyle(document.getElementById('browser')).display") == "none"


def test_one_run_prints_on_six_pages(browser, judge, family, tmp_path):
    dense, others = family
    write_report(judge(dense, others[:1]), tmp_path, PageOptions(), overwrite=True)
    pdf = browser.open((tmp_path / "report.html").as_uri()).pdf()
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6


def test_every_drawn_number_is_the_one_in_its_table(browser, report):
    page = browser.open(report)
    pairs = page.js(
        "[...document.querySelectorAll('table.changes tbody tr:not(.why):not(.c-collapsed)')]"
        ".map(r => [r.querySelector('svg').getAttribute('aria-label'),"
        "r.querySelector('td[data-k=Change]').textContent])"
    )
    assert len(pairs) > 20
    for label, points in pairs:
        drawn = re.findall(r"[−+]?\d+\.\d", label.partition(", allowed")[0])
        assert drawn == re.findall(r"[−+]?\d+\.\d", points)


def hostile_run(path, made):
    """The run with every answer and question replaced by hostile text."""
    write_run(path, made)
    for file in sorted((path / "samples").rglob("*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for i, line in enumerate(lines):
            line["question"] = HOSTILE[i % len(HOSTILE)][:5_000]
            line["answer"] = HOSTILE[i % len(HOSTILE)] if i < len(HOSTILE) else HOSTILE[i % 5]
            line["gold"] = HOSTILE[(i + 3) % 9]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_no_text_of_a_model_runs_or_hides(browser, judge, tmp_path):
    name = "<script>window.pwned=1</script>"
    tasks = ("kick/closed_book", "trust/ethics")
    many = {"gained": 0.3, "lost": 0.3, "n": 120, "tasks": tasks}
    dense = hostile_run(tmp_path / "dense", replace(DENSE, tasks=tasks, n=120, label="dense " + name))
    other = hostile_run(tmp_path / "other", replace(GPTQ, **many, label=name))
    compared = judge(dense, [other])
    write_report(compared, tmp_path / "out", PageOptions(), overwrite=False)
    page = browser.open((tmp_path / "out" / "report.html").as_uri())
    assert page.js("window.pwned === undefined")
    assert page.js("document.querySelectorAll('img, iframe, object, script[src], a[href^=\"javascript\"]').length") == 0
    for i in range(min(12, page.js("document.querySelectorAll('.row button').length"))):
        page.js(f"document.querySelectorAll('.row button')[{i}].click(); document.getElementById('detail').close()")
    assert page.js("window.pwned === undefined") and page.complaints() == []
    shown = page.js("document.body.textContent")
    assert "\u202e" not in shown and "\\u202e" in shown and "\x00" not in shown and "\x1b" not in shown
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert "<script>" not in re.sub("`[^`]*`", "", markdown).replace("\\<script\\>", "")


AXE = Path(
    os.environ.get("LLMC_AXE", Path(__file__).parents[2] / ".cache" / "node_modules" / "axe-core" / "axe.min.js")
)


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 375)])
def test_axe_finds_nothing(browser, report, scheme, width):
    if not AXE.is_file():
        pytest.skip("no axe-core here: npm install --prefix .cache axe-core@4")
    page = browser.open(report, scheme=scheme, width=width)
    page.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.js(AXE.read_text())
    found = page.js(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})"
        ".then(r => r.violations.map(v => v.id + ': ' + v.nodes.slice(0, 3).map(n => n.html).join(' | ')))"
    )
    assert found == []
