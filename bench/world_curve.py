"""The paper's headline on the embedded model: `python bench/world_curve.py WORK [--write docs/world]`.

Compresses it to every sparsity by three pruning methods and to 8, 4, 3 and 2 bits by two quantisers, asks each what it
knows (`llmc eval --suite kick --scale mini`), and writes curve.jsonl (a line a model), curve.md (the table) and
curve.svg. What WORK holds already is not done again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmc.cli import run

PRUNERS = ("magnitude", "wanda", "sparsegpt")
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
QUANTISERS = ("rtn", "gptq")
BITS = (8, 4, 3, 2)
GROUP = "32"
COLUMNS = {
    "perplexity": ("kick/perplexity", "perplexity"),
    "facts": ("kick/factoid_qa", "contains"),
    "choice by text": ("kick/multiple_choice_qa", "acc_text"),
    "by letter": ("kick/multiple_choice_qa", "letter"),
    "open book": ("kick/retrieval_qa", "open"),
    "closed book": ("kick/retrieval_qa", "closed"),
    "summaries": ("kick/summarization", "facts"),
    "orders": ("kick/instruction_following", "obeyed"),
}
"""{column: (task, metric)}"""


def variants() -> Iterator[tuple[str, str, float | int | None, list[str]]]:
    """(name, method, sparsity or bits, options of `llmc compress`); the dense model first, without options."""
    yield "dense", "dense", None, []
    for method in PRUNERS:
        for sparsity in SPARSITIES:
            options = ["--method", method, "--sparsity", str(sparsity)]
            yield f"{method}-{round(100 * sparsity)}", method, sparsity, options
    for method in QUANTISERS:
        for bits in BITS:
            options = ["--method", method, "--bits", str(bits), "--group-size", GROUP]
            yield f"{method}-{bits}bit", method, bits, options


def measure(name: str, options: Sequence[str], work: Path) -> dict[str, float | None]:
    """{column: value} of one variant, in percent but for perplexity."""
    model = "mini"
    if options:
        model = str(work / "models" / name)
        if not (work / "runs" / name / "results.json").exists():
            ended(run(["compress", "mini", *options, "--out", model, "--overwrite"]), name)
    out = work / "runs" / name
    if not (out / "results.json").exists():
        more = ["--resume"] if out.exists() else []
        ended(run(["eval", model, "--suite", "kick", "--scale", "mini", "--out", str(out), *more]), name)
    tasks = json.loads((out / "results.json").read_text())["tasks"]
    found = {}
    for column, (task, metric) in COLUMNS.items():
        value = tasks[task]["metrics"][metric]["value"]
        found[column] = None if value is None else round(value if column == "perplexity" else 100 * value, 2)
    return found


def ended(code: int, name: str) -> None:
    """Stops at the first command that fails."""
    if code != 0:
        raise SystemExit(f"{name}: exit code {code}")


def table(lines: Sequence[dict[str, Any]]) -> str:
    """The lines as a Markdown table."""
    head = ["model", *COLUMNS]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        cells = [line["name"]]
        cells += ["–" if line[c] is None else f"{line[c]:.{2 if c == 'perplexity' else 1}f}" for c in COLUMNS]
        rows.append(cells)
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main(work: Path, write: Path | None) -> None:
    """Measures every variant and writes the table after each."""
    lines: list[dict[str, Any]] = []
    for name, method, level, options in variants():
        lines.append({"name": name, "method": method, "level": level, **measure(name, options, work)})
        print(json.dumps(lines[-1]), flush=True)
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        (write / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (write / "curve.md").write_text(table(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    main(arguments.work.resolve(), arguments.write)
