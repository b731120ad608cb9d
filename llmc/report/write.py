"""Writes a comparison to files: the page, Markdown, JSON, and every flipped item."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmc.errors import UserError
from llmc.files import replace_text
from llmc.harmless import json_text
from llmc.report.comparison import Comparison
from llmc.report.flips import collect, write_items
from llmc.report.judge import Compared
from llmc.report.markdown import report_markdown
from llmc.report.page import PageOptions, page

PAGE, MARKDOWN, JSON_FILE, ITEMS = "report.html", "report.md", "comparison.json", "items.jsonl.gz"
BEGUN = "begun.tmp"
"""The folder inside a report's in which its files are written first."""


def to_json(comparison: Comparison) -> str:
    """`comparison.json`; the same comparison gives the same bytes."""
    return json_text(comparison.model_dump(mode="json"), indent=1) + "\n"


def redacted(comparison: Comparison) -> Comparison:
    """The comparison without any item's text."""
    return comparison.model_copy(update={"runs": [run.model_copy(update={"flipped": []}) for run in comparison.runs]})


def write_report(compared: Compared, out: Path, options: PageOptions, *, overwrite: bool) -> list[Path]:
    """The four files of a report in a new directory; an old one is replaced only when asked.

    All are there or none: they take their places when the last is written. Whatever stops that (a full disk, an
    interrupt) leaves an old report as it was, and of a new directory nothing.
    """
    names = (PAGE, MARKDOWN, JSON_FILE, ITEMS)
    # A kill can leave the folder of what was begun, which is nobody's.
    if (
        out.exists()
        and any(each.name != BEGUN for each in (out.iterdir() if out.is_dir() else [out]))
        and not overwrite
    ):
        raise UserError(f"{out} exists", hint="give another --out, or --overwrite")
    begun, new = out / BEGUN, not out.exists()
    _make_folder(begun)
    try:
        flips = collect(compared.joined)
        first = write_items(begun / ITEMS, compared.joined, flips, redact=options.redact)
        write_text(begun / PAGE, page(compared, flips, options, first))
        plain = redacted(compared.comparison) if options.redact else compared.comparison
        write_text(begun / MARKDOWN, report_markdown(plain) + "\n")
        write_text(begun / JSON_FILE, to_json(plain))
        for name in names:
            (begun / name).replace(out / name)
    finally:
        shutil.rmtree(begun, ignore_errors=True)
        if new and not any(out.iterdir()):
            out.rmdir()
    return [out / name for name in names]


def write_page(compared: Compared, path: Path, options: PageOptions) -> None:
    """The page alone."""
    write_text(path, page(compared, collect(compared.joined), options))


def write_text(path: Path, text: str) -> None:
    """Puts a text in place in one step; lone surrogates of model output become replacement characters."""
    if path.is_dir():
        raise UserError(f"{path} is a directory", hint="give a file")
    _make_folder(path.parent)
    replace_text(path, text)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} can't be made: {(error.strerror or str(error)).lower()}", hint="choose another path"
        ) from error
