"""How long, how much memory and how large a page: one dense and 12 compressed runs of 14,042 items, 100,000 flips.

    python bench/compare_scale.py [--runs 12] [--items 14042] [--flips 0.6]

Writes bench/work/compare_scale.json and prints the table of docs/performance-report.md. The browser's part is left out
where no Chromium is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
_SYLLABLES = ("ba", "den", "ki", "lor", "mu", "ner", "po", "ras", "ti", "vel", "wyn", "zo")
WORDS = [a + b + c for a in _SYLLABLES for b in _SYLLABLES for c in ("", *_SYLLABLES)]

FLAGS = ("empty", "unparsed", "refused", "overflowed", "truncated", "repetitive")


def make_run(path: Path, index: int, n: int, flips: float) -> None:
    """A run of one multiple-choice task; run 0 is dense, the others change the choice on a share of the items."""
    shared, own = np.random.default_rng(1), np.random.default_rng(100 + index)
    gold, dense = shared.integers(0, 4, n), shared.integers(0, 4, n)
    dense = np.where(shared.uniform(size=n) < 0.5, gold, dense)
    changed = own.uniform(size=n) < (flips if index else 0.0)
    choice = np.where(changed, (dense + own.integers(1, 4, n)) % 4, dense)
    sure = shared.beta(2, 2, n)
    texts = np.random.default_rng(2)
    (path / "samples" / "kick").mkdir(parents=True)
    with (path / "samples/kick/mmlu.jsonl").open("w", encoding="utf-8") as out:
        for i in range(n):
            # Frequencies fall as those of words in a language do.
            words = " ".join(WORDS[k] for k in np.minimum(texts.zipf(1.3, 120), len(WORDS)) - 1)
            line = {
                "id": f"mmlu-{i:05d}", "cluster": f"subject-{i % 57}", "stratum": None,
                "prompt_sha256": hashlib.sha256(words.encode()).hexdigest(), "prompt": words, "question": words[:280],
                "request": {"kind": "loglikelihood"}, "gold": f"option {gold[i]}", "answer": f"option {choice[i]}",
                "choice": int(choice[i]), "options": [f"option {k}" for k in range(4)],
                "loglikelihoods": [float(-1 - (k != choice[i]) * (1 + sure[i])) for k in range(4)],
                "marks": {"accuracy": float(choice[i] == gold[i])},
                "flags": dict.fromkeys(FLAGS, False),
                "kl": None, "margin": round(float(sure[i]), 5), "seconds": None,
            }  # fmt: skip
            out.write(json.dumps(line) + "\n")
    value = float((choice == gold).mean())
    metric = {"value": value, "stderr": 0.004, "ci95": None, "n": n, "direction": "higher", "chance": 0.25,
              "kind": "proportion"}  # fmt: skip
    result = {"suite": "kick", "dimension": None, "version": 1, "primary": "accuracy", "metrics": {"accuracy": metric},
              "panel": {"n": n}, "collapsed": False, "notes": [], "options": None}  # fmt: skip
    (path / "results.json").write_text(json.dumps({"schema": 1, "tasks": {"kick/mmlu": result}, "dimensions": {}}))
    facts = {"suite": "kick", "version": 1, "mode": "fixed", "scorer": None, "prompts_sha256": "p", "items_sha256": "i"}
    model = {"id": f"model {index}", "sha256": None, "bytes_on_disk": 10**9 - index * 10**7, "label": f"run {index}"}
    manifest = {"schema": 1, "complete": True, "model": model, "tasks": {"kick/mmlu": facts}, "mode": "fixed"}
    (path / "manifest.json").write_text(json.dumps(manifest))


def compare(folder: Path, n_runs: int) -> dict[str, float]:
    """Wall seconds, peak resident bytes and the sizes of what `llmc compare` writes."""
    out = folder / "report"
    shutil.rmtree(out, ignore_errors=True)
    runs = [str(folder / f"run{i}") for i in range(n_runs + 1)]
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "llmc", "compare", *runs, "--out", str(out)], cwd=ROOT, check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    seconds = time.monotonic() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = used.ru_maxrss * 1024
    sizes = {f"{file.name} MB": round(file.stat().st_size / 1e6, 2) for file in sorted(out.iterdir())}
    cpu = round(used.ru_utime + used.ru_stime, 1)
    return {"seconds": round(seconds, 1), "CPU seconds": cpu, "peak GiB": round(peak / 2**30, 2), **sizes}


def browse(page: Path, folder: Path) -> dict[str, float]:
    """Seconds until the item table is ready, of one search over all texts, and how many rows the page holds."""
    from tests.report.chromium import PROGRAM, Chromium

    if PROGRAM is None:
        return {}
    chromium = Chromium(folder / "profile")
    try:
        tab = chromium.open(page.as_uri())
        ready = tab.js("performance.now()") / 1000 if tab.seconds > 60 else tab.seconds
        search = "(() => { const t = performance.now(); document.getElementById('q').value = %s; \
document.getElementById('f-task').dispatchEvent(new Event('change')); return performance.now() - t })()"
        first = tab.js(search % "'stone bridge'") / 1000
        filters = [tab.js(search % f"'option {k}'") / 1000 for k in range(4)]
        tab.js("document.getElementById('q').value = ''")
        tab.js("document.getElementById('f-task').dispatchEvent(new Event('change'))")
        return {
            "ready s": round(ready, 2),
            "first search s": round(first, 3),
            "search s": round(max(filters), 3),
            "items": tab.js("Number(document.querySelector('#rows').getAttribute('aria-rowcount')) - 1"),
            "rows in the page": tab.js("document.querySelectorAll('.row').length"),
            "heap MB": round(tab.js("performance.memory.usedJSHeapSize") / 1e6, 1),
        }
    finally:
        chromium.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--items", type=int, default=14_042)
    parser.add_argument("--flips", type=float, default=0.72, help="share of items whose answer changes")
    asked = parser.parse_args()
    folder = ROOT / "bench" / "work" / f"compare_scale_{asked.runs}"
    shutil.rmtree(folder, ignore_errors=True)
    for index in range(asked.runs + 1):
        make_run(folder / f"run{index}", index, asked.items, asked.flips)
    found = {"machine": platform.processor() or platform.machine(), "python": platform.python_version(),
             **compare(folder, asked.runs), **browse(folder / "report" / "report.html", folder)}  # fmt: skip
    (folder.parent / "compare_scale.json").write_text(json.dumps(found, indent=1) + "\n")
    for key, value in found.items():
        print(f"| {key} | {value} |")


if __name__ == "__main__":
    main()
