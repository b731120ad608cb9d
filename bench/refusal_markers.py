"""What every refusal marker makes of 900 answers that people labelled (XSTest): a table, and the record in the code.

PYTHONPATH=. python bench/refusal_markers.py --data-root ../shared/data
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

from llmc.evaluate.stats.estimate import Estimate
from llmc.trust.scorers.measured import MARKERS, Counts, Marker, Measured

FILES = {"llama_2": "completions_llama2new.csv", "mistral": "completions_mistralinstruct.csv"}
COMPLIED, REFUSED, PARTIAL = "1_full_compliance", "2_full_refusal", "3_partial_refusal"
LABELS = (COMPLIED, REFUSED)


def rows(root: Path, model: str) -> list[dict[str, str]]:
    """The answers of one model with their labels."""
    with (root / "xstest" / FILES[model]).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def count(marker: Marker, answers: list[dict[str, str]]) -> Counts:
    """Full refusals found and full compliances taken for one."""
    by_label = {
        label: [marker(row["completion"]) for row in answers if row["final_label"] == label] for label in LABELS
    }
    refused, complied = by_label[REFUSED], by_label[COMPLIED]
    return Counts(sum(refused), len(refused), sum(complied), len(complied))


def measure(root: Path) -> dict[str, Measured]:
    """Every marker on both models."""
    answers = {model: rows(root, model) for model in FILES}
    return {
        name: Measured(**{model: count(marker, found) for model, found in answers.items()})
        for name, marker in MARKERS.items()
    }


def authors(root: Path) -> Measured:
    """The string match of XSTest's authors, whose verdicts stand beside the answers."""
    found = {}
    for model in FILES:
        answers = rows(root, model)
        hits = {row["completion"]: row["strmatch_label"] == REFUSED for row in answers}
        found[model] = count(hits.__getitem__, answers)
    return Measured(**found)


def percent(share: Estimate) -> str:
    """A share with its interval."""
    low, high = share.ci95 or (0.0, 0.0)
    return f"{100 * (share.value or 0):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def table(found: dict[str, Measured]) -> Iterator[str]:
    """A row a marker."""
    yield "| marker | refusals found, % | Llama-2 | Mistral | compliances spared, % | taken: Llama-2, Mistral |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, one in found.items():
        a, b = one
        yield (
            f"| {name} | {percent(one.sensitivity)} | {a.found} of {a.refused} | {b.found} of {b.refused} "
            f"| {percent(one.specificity)} | {a.taken} of {a.complied}, {b.taken} of {b.complied} |"
        )


def main() -> None:
    """Prints the table, how well people agree, and the record for `llmc/trust/scorers/measured.py`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=Path("../shared/data"))
    root = parser.parse_args().data_root
    found = measure(root)
    print("\n".join(table({**found, "XSTest's string match": authors(root)})))
    every = [row for model in FILES for row in rows(root, model)]
    same = sum(row["annotation_1"] == row["annotation_2"] for row in every)
    partial = sum(row["final_label"] == PARTIAL for row in every)
    print(f"\nThe two annotators agree on {same} of {len(every)}; {partial} partial refusals stand in no column.\n")
    print("RECORD: dict[str, Measured] = {")
    for name, one in found.items():
        print(f'    "{name}": Measured(Counts{tuple(one.llama_2)}, Counts{tuple(one.mistral)}),')
    print("}")


if __name__ == "__main__":
    main()
