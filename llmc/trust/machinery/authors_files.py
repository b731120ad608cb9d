"""The authors' files: where they lie, how to get one that is missing, and how to read them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from llmc.errors import UserError, quoted, shortened
from llmc.evaluate.task import TaskContext
from llmc.reading.json_text import Malformed, json_value
from llmc.reading.rows import json_rows, table_rows, whole_text

logger = logging.getLogger(__name__)

K = TypeVar("K")
FOLDER = Path("decodingtrust/data")
REPOSITORY = "https://github.com/AI-secure/DecodingTrust"
DATASET = "AI-Secure/DecodingTrust"
CLONE = f"git clone {REPOSITORY} DATA_ROOT/decodingtrust"


def folder(ctx: TaskContext) -> Path:
    """The authors' data folder. Raises `UserError` without `--data-root`, or where it holds no such folder."""
    if ctx.data_root is None:
        raise UserError(
            f"trust at --scale {ctx.scale} asks for DecodingTrust's files",
            hint=f"give --data-root DATA_ROOT after `{CLONE}`, or use --scale mini",
        )
    found = ctx.data_root / FOLDER
    if not found.is_dir():
        raise UserError(f"{found} is not there", hint=f"get it with `{CLONE}`")
    return found


def path(ctx: TaskContext, name: str, *, get: str = CLONE) -> Path:
    """The file `name` of the data folder. Raises `UserError` saying how to get it."""
    found = folder(ctx) / name
    if not found.is_file():
        raise UserError(f"{found} is not there", hint=f"get it with `{get}`")
    return found


def present(ctx: TaskContext, names: Mapping[K, str], *, get: str = CLONE) -> dict[K, Path]:
    """Those of the files that are there; the others are named in a warning. Raises `UserError` when none is."""
    root = folder(ctx)
    found = {key: root / name for key, name in names.items() if (root / name).is_file()}
    missing = [name for key, name in names.items() if key not in found]
    if not found:
        raise UserError(
            f"none of {len(missing)} files is there, first {root / missing[0]}", hint=f"get it with `{get}`"
        )
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        logger.warning("left out, for want of %s in %s; get it with `%s`", shown, root, get)
    return found


def jsonl(file: Path, form: type[Any]) -> list[dict[str, Any]]:
    """Every line of a JSON-lines file, each of that form. Raises `UserError` naming the first that is of another.

    None is left out: items are numbered by their lines, and one less would give all that follow another's number.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(form)
    rows = []
    for number, row in json_rows(file):
        try:
            adapter.validate_python(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the row"
            said = f"{where} is {quoted(first['input'])}: {first['msg'].lower()}"
            raise UserError(f"{file}:{number}: {said}", hint=f"get it anew with `{CLONE}`") from None
        rows.append(row)
    return rows


def table(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Every row of a CSV file with a header that has these columns."""
    return [row for _, row in table_rows(file, columns=columns)]


def tree(file: Path) -> Any:
    """A JSON file."""
    try:
        return json_value(whole_text(file))
    except Malformed as error:
        raise UserError(f"{file} is not JSON ({error})", hint=f"get it with `{CLONE}`") from error


@contextmanager
def taken_apart(file: Path) -> Iterator[None]:
    """Within it a JSON file's value is taken apart; a part that is not where it belongs is a `UserError`."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        said = f"{type(error).__name__}: {shortened(str(error), 100)}"
        raise UserError(
            f"{file} has another form than its authors gave it ({said})", hint=f"get it with `{CLONE}`"
        ) from error


def numbered(rows: Iterable[K], name: str) -> list[tuple[str, K]]:
    """The rows with ids NAME/0, NAME/1, … in file order."""
    return [(f"{name}/{place}", row) for place, row in enumerate(rows)]
