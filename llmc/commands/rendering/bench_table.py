"""The table that `llmc bench` prints."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from llmc.jobs.compress import size
from llmc.report.console import Console


def table(result: Mapping[str, Any]) -> str:
    """A line a model and metric: median, range, and the ratio to the first model with its range."""
    found = Table(box=None, pad_edge=False, header_style="")
    found.add_column("model")
    found.add_column("")
    for heading in ("median", "least to most", "× first", "least to most"):
        found.add_column(heading, justify="right", no_wrap=True)
    batches = result["settings"]["batches"]
    for number, model in enumerate(result["models"]):
        found.add_row(model["label"], "on disk", size(model["bytes_on_disk"]), "", *_on_disk(result, model, number))
        for words, name, show in _lines(batches):
            found.add_row("", words, *_cells(model["summary"].get(name), show, number))
    text = io.StringIO()
    console = Console(file=text, width=140, no_color=True)
    console.print(found)
    settings = result["settings"]
    console.print()
    console.print(
        f"{result['machine']}; {result['models'][0]['dtype']}; prompts of {settings['prompt_tokens']} tokens, "
        f"{settings['new_tokens']} new ones; {settings['repeats']} turns. Ratios hold within one bench only."
    )
    for model in result["models"]:
        for note in model["notes"]:
            console.print(f"note: {model['label']}: {note}")
    return text.getvalue().rstrip()


def _lines(batches: list[int]) -> list[tuple[str, str, Any]]:
    rate = "{:,.4g}".format
    lines: list[tuple[str, str, Any]] = [
        ("in memory", "resident_bytes", lambda value: size(int(value))),
        ("process", "process_bytes", lambda value: size(int(value))),
        ("load, s", "load_s", rate),
    ]
    for batch in batches:
        lines.append((f"prompt tokens/s, batch {batch}", f"prefill_tokens_per_s_batch_{batch}", rate))
    for batch in batches:
        lines.append((f"new tokens/s, batch {batch}", f"decode_tokens_per_s_batch_{batch}", rate))
    for batch in batches:
        lines.append((f"joules a new token, batch {batch}", f"decode_joules_per_token_batch_{batch}", rate))
    return lines


def _cells(summary: Mapping[str, float] | None, show: Any, number: int) -> tuple[str, str, str, str]:
    if summary is None:
        return "not measured", "", "", ""
    spread = "" if summary["least"] == summary["most"] else f"{show(summary['least'])} to {show(summary['most'])}"
    if number == 0:
        return show(summary["median"]), spread, "", ""
    ratios = f"{summary['ratio_least']:.3g} to {summary['ratio_most']:.3g}" if spread else ""
    return show(summary["median"]), spread, f"{summary['ratio']:.3g}", ratios


def _on_disk(result: Mapping[str, Any], model: Mapping[str, Any], number: int) -> tuple[str, str]:
    first = result["models"][0]["bytes_on_disk"]
    return ("" if number == 0 else f"{model['bytes_on_disk'] / first:.3g}", "")
