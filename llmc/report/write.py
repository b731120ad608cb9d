"""Writes a comparison to files: the page, Markdown, JSON, and every flipped item."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from llmc.errors import UserError
from llmc.files import replace_text
from llmc.folders.foreign import refuse_foreign
from llmc.folders.marker import NAME, Kind, Marker, job_id, new_marker
from llmc.folders.output import Output, State, look, refuse_writer
from llmc.folders.place import check_out
from llmc.harmless import json_text
from llmc.judging.comparison import Comparison
from llmc.judging.flips import collect, write_items
from llmc.judging.judge import Compared
from llmc.report.markdown import report_markdown
from llmc.report.page import PageOptions, page

PAGE, MARKDOWN, JSON_FILE, ITEMS = "report.html", "report.md", "comparison.json", "items.jsonl.gz"
NAMES = (PAGE, MARKDOWN, JSON_FILE, ITEMS)
BEGUN = "begun.tmp"
"""The folder that a killed llmc left in a report's, before it marked its folders."""
KIND: Kind = "report"


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
    check_report(out, overwrite=overwrite)
    job = job_id(compared.comparison.model_dump(mode="json", exclude={"created", "command"}))
    admit = partial(_admit, out, overwrite)
    with Output(out, new_marker(KIND, job, writes=NAMES), admit, overwrite=overwrite, at_once=True) as output:
        begun = output.folder
        flips = collect(compared.joined)
        first = write_items(begun / ITEMS, compared.joined, flips, redact=options.redact)
        write_text(begun / PAGE, page(compared, flips, options, first))
        plain = redacted(compared.comparison) if options.redact else compared.comparison
        write_text(begun / MARKDOWN, report_markdown(plain) + "\n")
        write_text(begun / JSON_FILE, to_json(plain))
        output.finish()
    return [out / name for name in NAMES]


def check_report(out: Path, *, overwrite: bool, reads: Mapping[str, Path | None] | None = None) -> None:
    """Raises `UserError` where no report can be written; `reads` is what it is made of, by what that is called."""
    check_out(out, reads or {})
    _admit(out, overwrite, *look(out, KIND))
    refuse_writer(out)


def _admit(out: Path, overwrite: bool, state: State, marker: Marker | None) -> None:
    if state is State.NEW:
        return
    if marker is None and {each.name for each in out.iterdir()} == {BEGUN}:
        raise UserError(
            f"{out} holds what an llmc left half-made that did not mark its folders yet",
            hint="remove it or give another --out",
        )
    if state in (State.UNMARKED, State.FINISHED) and not overwrite:
        raise UserError(f"{out} exists", hint="give another --out, or --overwrite")
    if marker is None:
        raise UserError(
            f"{out} has no {NAME} that says what llmc wrote there, so --overwrite can't tell what is its own",
            hint="move it away or give another --out",
        )
    refuse_foreign(out, marker, option="--overwrite" if overwrite else "a new report")


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
