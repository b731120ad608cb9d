"""Hostile text through whole commands: nothing that a model, a run or a policy holds steers what shows it."""

import json
import re
import shutil
import unicodedata
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmc import cli
from llmc.models.tiny import save_tiny
from tests.report.made_up_runs import BROKEN, DENSE, write_run

ATTACKS = (
    "\x1b]0;owned\x07", "\x1b[2J\x1b[31mred", "\x9b31m", "bell\x07back\x08", "\u202eevil", "\u2066x\u2069",
    "zero\u200bwidth\ufeff", "a\nb", "a\r\nPASS", "x\u2028y", "::error::pwned", "\n::stop-commands::x", " ::set-env::x",
    "##[command]x", "%0A::error::x", "[bold red]x[/]", "[link=https://evil.example]x[/link]", ":smile:",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "--><b>x", "]]>", "</svg><b>", "'\"&",
    "=cmd|' /C calc'!A0", "@everyone", "[x](https://evil.example)", "`x`|y|", "# head", "www.evil.example", "\x7f",
    "\U000e0041tag", "a|b\n---\n",
)  # fmt: skip
TASKS = ("kick/closed_book", "kick/multiple_choice", "trust/toxicity")
KNOWN = re.compile(r"::(notice|error|warning) (file=[^,:]*,line=\d+,)?title=[^:,\n]*::(?!.*::)")
"""The workflow commands that the gate prints."""


def write_hostile(folder, texts, n=24):
    """A dense run and a broken one with these texts wherever a run has text of others."""
    made = replace(DENSE, n=n), replace(BROKEN, n=n)
    runs = [write_run(folder / name, run) for name, run in zip(("dense", "other"), made, strict=True)]
    pick = [texts[i % len(texts)] for i in range(100)]
    for place, run in enumerate(runs):
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["model"] |= {"id": "".join(texts)[:400], "label": f"{pick[place]}{place} {''.join(texts)[:200]}"}
        manifest["command"] = ["llmc", "eval", *texts]
        manifest["compression"] = manifest["compression"] and {**manifest["compression"], "warnings": list(texts)}
        manifest["packages"] = dict.fromkeys(["llmc", "torch"], pick[3])
        results = json.loads((run / "results.json").read_text())
        for i, name in enumerate(TASKS):
            hostile = name + pick[i].replace("/", "").replace("\0", "")[:40]
            lines = (run / "samples" / f"{name}.jsonl").read_text().splitlines()
            (run / "samples" / f"{name}.jsonl").unlink()
            told = []
            for k, line in enumerate(map(json.loads, lines)):
                bad = pick[k]
                line |= {"id": line["id"] + bad, "question": bad + line["question"], "gold": line["gold"] + bad}
                if line["options"]:
                    line["options"] = [each + bad for each in line["options"]]
                line["answer"] = pick[k + place] + str(line["answer"]) + bad
                told.append(json.dumps(line))
            (run / "samples" / f"{hostile}.jsonl").write_text("\n".join(told) + "\n")
            manifest["tasks"][hostile] = manifest["tasks"].pop(name)
            results["tasks"][hostile] = results["tasks"].pop(name)
            results["tasks"][hostile]["notes"] = list(texts)
        (run / "manifest.json").write_text(json.dumps(manifest))
        (run / "results.json").write_text(json.dumps(results))
    told = json.dumps("".join(texts)[:80], ensure_ascii=True)
    told = re.sub(r"\\ud[89ab]..\\ud[c-f]..", "", told).replace("\x7f", "")  # TOML escapes no surrogates
    policy = folder / "gate.toml"
    policy.write_text(
        f"schema = 1\nname = {told}\n[[rule]]\n"
        f'id = "knows"\nsuite = "kick"\nlevel = "task"\ntolerance = {{ points = 5.0 }}\n'
    )
    return runs[0], runs[1], policy


def steering(text, *, lines=True):
    """What in `text` a terminal obeys or doesn't show: by Unicode's categories, not by our own list."""
    kept = "\n" if lines else ""
    return sorted({hex(ord(c)) for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
                   and c not in kept})  # fmt: skip


def check_terminal(out, err):
    for text in (out, err):
        assert steering(text) == []
        for line in text.splitlines():
            stripped = line.lstrip()
            assert not stripped.startswith("::") or KNOWN.match(stripped), line
            assert "##[" not in line
    assert "Traceback" not in err and "a bug in llmc" not in err


def check_markdown(text):
    assert steering(text.replace("\u200b", "")) == []
    plain = re.sub(r"`[^`\n]*`", "", text)
    plain = re.sub(r"\\.", "", re.sub(r"</?(details|summary)>|<!-- llmc-gate:[\w.-]* -->", "", plain))
    assert not re.search(r"<\w|<!|</|\]\(|@\w|www\.\w|https?://|&#", plain), plain


def check_page(text):
    assert steering(text.replace("\t", "")) == []
    for attack in ("<script>alert", "<img", "</svg><b", "--><b", "onerror=alert(1)>"):
        assert attack not in text


def run(*arguments, capsys):
    code = cli.run([str(each) for each in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def attack(folder, texts, capsys):
    """compare, gate and baseline over runs with these texts; everything that they print and write is looked at."""
    dense, other, policy = write_hostile(folder, texts)
    code, out, err = run("compare", dense, other, "--out", folder / "report", capsys=capsys)
    assert code == 0, err
    check_terminal(out, err)
    check_page((folder / "report/report.html").read_text())
    check_markdown((folder / "report/report.md").read_text())
    files = {name: folder / name for name in ("j.xml", "s.md", "p.html", "c.json")}
    code, out, err = run(
        "gate", dense, other, "--policy", policy, "--junit", files["j.xml"], "--markdown", files["s.md"], "--html",
        files["p.html"], "--json", files["c.json"], "--annotations", "github", "--explain", "knows", capsys=capsys,
    )  # fmt: skip
    assert code in (1, 3, 4), err
    check_terminal(out, err)
    check_markdown(files["s.md"].read_text())
    check_page(files["p.html"].read_text())
    parsed = ET.fromstring(files["j.xml"].read_bytes())
    for element in parsed.iter():
        assert steering("".join([*element.attrib.values(), element.text or ""])) == []
    assert steering(files["c.json"].read_text()) == []
    code, out, err = run("compare", dense, other, "--json", capsys=capsys)
    check_terminal(out, err)
    assert out.isascii()
    told, kept = json.loads(out), json.loads((folder / "report/comparison.json").read_text())
    assert told["runs"][0]["flipped"] == kept["runs"][0]["flipped"]
    code, out, err = run("baseline", "save", "b", dense, "--folder", folder / "b", capsys=capsys)
    check_terminal(out, err)
    code, out, err = run("baseline", "list", "--folder", folder / "b", capsys=capsys)
    check_terminal(out, err)


@pytest.mark.parametrize("width", ["80", "200"])
def test_known_attacks_do_nothing(tmp_path, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    attack(tmp_path, ATTACKS, capsys)


TEXTS = st.lists(st.text(st.characters(exclude_characters="\0"), max_size=12) | st.sampled_from(ATTACKS), min_size=1,
                 max_size=6)  # fmt: skip


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(TEXTS)
def test_no_text_does_anything(tmp_path_factory, capsys, texts):
    folder = tmp_path_factory.mktemp("hostile")
    attack(folder, tuple(texts), capsys)
    shutil.rmtree(folder)


@pytest.mark.parametrize("bad", ["\x1b[31mx", "\u202ex", "a\nb", "[red]x[/red]", "\n::error::x", "=1+1", "\x9b31m"])
def test_a_models_folder_may_be_called_anything(tmp_path, capsys, bad):
    save_tiny("llama", tmp_path / bad)
    capsys.readouterr()
    out = tmp_path / f"out {bad}"
    made = ["compress", tmp_path / bad, "--out", out, "--method", "magnitude"]
    for arguments in (made, ["inspect", out], ["inspect", out, "--json"], made, ["inspect", tmp_path / bad]):
        code, told, err = run(*arguments, capsys=capsys)
        assert code in (0, 2), err
        check_terminal(told, err)
        assert err.count("\n") <= 1 or code == 0
    assert steering((out / "llmc_manifest.json").read_text()) == []
    for arguments in (
        ["methods", bad], ["compress", "mini", "--out", out, "--method", bad], ["gate", bad, bad], [bad], ["eval", bad],
        ["compress", bad, "--out", bad, "--recipe", bad],
        ["data", "verify", bad, "--data-root", bad], ["trust", "calibrate", bad], ["bench", bad], ["rescore", bad],
        ["eval", "mini", f"--{bad}"], ["compare", bad, bad, "--policy", bad], ["baseline", "save", bad, bad],
    ):  # fmt: skip
        code, told, err = run(*arguments, capsys=capsys)
        assert code == 2 and err.count("\n") == 1, (arguments, told, err)
        check_terminal(told, err)


def test_what_libraries_print_and_log_is_made_harmless(tmp_path, capsys, monkeypatch):
    """A log record and a print of somebody else's, in the middle of a command."""
    import logging
    import sys

    from llmc.jobs import own_tasks

    def loud():
        logging.getLogger("llmc.models").warning("a layer called %s", "x\n\x1b]0;y\x07")
        print("library \x9b31m", file=sys.stderr)  # noqa: T201
        print("library \x1b[2J")  # noqa: T201
        return {}

    monkeypatch.setattr(own_tasks, "own_tasks", loud)
    monkeypatch.setattr(logging.root, "handlers", [])
    code, out, err = run("tasks", capsys=capsys)
    assert code == 0 and r"library \u001b[2J" in out and r"library \u009b31m" in err
    assert r"WARNING llmc.models: a layer called x\n\u001b]0;y\u0007" in err
    check_terminal(out, err)
