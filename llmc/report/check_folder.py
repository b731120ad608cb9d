"""Checks a finished run, or a report, against what it says of itself."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

from pydantic import ValidationError

from llmc.checksums import FileFacts, not_as_written
from llmc.errors import UserError
from llmc.findings import Finding
from llmc.folders.marker import read_marker
from llmc.judging.comparison import Comparison
from llmc.report.write import ITEMS, JSON_FILE, MARKDOWN, PAGE
from llmc.runs.reader import load_run, run_manifest


def check_run(path: Path) -> list[Finding]:
    """What is right and what not in a run folder.

    Raises `UserError` for a run that is not complete, or of before llmc kept checksums.
    """
    try:
        manifest = run_manifest(path)
    except UserError as error:
        return [Finding("manifest.json", False, error.problem)]
    if not manifest.complete:
        raise UserError(f"{path} is not complete", hint="finish it with `llmc eval … --resume`")
    if (written := manifest.written) is None:
        raise UserError(f"{path} is of an older llmc, which kept no checksums", hint="evaluate again")
    wrong = not_as_written(path, written)
    found = [Finding("manifest.json", True, "its seal holds")]
    if len(written) > len(wrong):
        found.append(Finding("files", True, f"{len(written) - len(wrong)} have the sizes and sha256 that were written"))
    if wrong:
        return [*found, *(Finding(name, False, said) for name, said in wrong.items())]
    return [*found, *_samples(path)]


def _samples(path: Path) -> list[Finding]:
    try:
        run = load_run(path)
    except UserError as error:
        return [Finding("results.json", False, error.problem)]
    found = []
    for name in run.results.tasks:
        try:
            n, told = len(run.samples(name).ids), run.manifest.tasks[name].n
        except UserError as error:
            found.append(Finding(name, False, error.problem))
            continue
        right = told in (None, n)
        found.append(Finding(name, right, f"{n:,} items" + ("" if right else f", the manifest says {told:,}")))
    return found


def check_report(path: Path) -> list[Finding]:
    """What is right and what not in the folder of a report: its files, its numbers, and the samples stored there."""
    found = []
    for name in (PAGE, MARKDOWN):
        there = (path / name).is_file()
        found.append(Finding(name, there, "is there" if there else "is missing"))
    try:
        comparison = Comparison.model_validate_json((path / JSON_FILE).read_bytes())
        found.append(Finding(JSON_FILE, True, f"{len(comparison.runs)} runs against {comparison.dense.label}"))
    except (OSError, ValidationError) as error:
        found.append(Finding(JSON_FILE, False, str(error).splitlines()[0]))
    marker = read_marker(path)
    for name, facts in ((marker and marker.files) or {}).items():
        if facts.sha256 is not None and facts.size is not None:
            wrong = not_as_written(path, {name: FileFacts(facts.size, facts.sha256)})
            found.append(Finding(name, not wrong, wrong.get(name, "has the size and sha256 that were written")))
    return [*found, _stored_samples(path / ITEMS)]


def _stored_samples(path: Path) -> Finding:
    """gzip has a checksum of its own over everything in the file."""
    n = 0
    try:
        with gzip.open(path, "rb") as file:
            for n, line in enumerate(file, 1):
                if not isinstance(json.loads(line), dict):
                    return Finding(path.name, False, f"line {n} is no item")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        return Finding(path.name, False, f"is damaged after {n:,} items ({error})")
    return Finding(path.name, True, f"{n:,} items, the file's own checksum holds")
