"""Named baselines: which run of the dense model a gate compares with, and the sha256 of what that run held.

FOLDER/NAME.json says where the run is and what it held when it was named. A gate only reads it: a baseline that moved
along with each passing run would let a model decay slowly, so only a dense run can be one, and only a person renews it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from llmc.errors import UserError, unknown
from llmc.files import replace_text
from llmc.folders.output_file import check_output_file
from llmc.reading.json_text import json_object
from llmc.runs.forms import first_fault
from llmc.runs.reader import load_run

FOLDER = Path(".llmc/baselines")
"""Where baselines are kept unless a user says otherwise; meant to be committed with a project."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A named run of a dense model."""

    name: str
    run: str
    """The run directory, relative to the baseline's own folder, so that both can move together."""
    sha256: str
    """Of the run's manifest, results and samples."""
    model: str


LONGEST = 10**6
_FORM: TypeAdapter[Baseline] = TypeAdapter(Baseline)


def save(name: str, run: Path, folder: Path = FOLDER, *, overwrite: bool = False) -> Baseline:
    """Names a complete run of a dense model. Raises `UserError` for any other run and for a name that is taken."""
    if not NAME.fullmatch(name):
        raise UserError(f"{name!r} can't name a baseline", hint="use letters, digits, dots, dashes and underscores")
    facts = load_run(run).manifest
    if facts.compression is not None:
        raise UserError(f"{run} is a run of a compressed model", hint="a baseline is a run of the dense model")
    file = folder / f"{name}.json"
    if os.path.lexists(file) and not overwrite:
        raise UserError(f"baseline {name} exists", hint="replace it with --overwrite")
    check_output_file(file, _is_baseline, "the baseline")
    where = os.path.relpath(run.resolve(), folder.resolve())
    made = Baseline(name=name, run=Path(where).as_posix(), sha256=content_sha256(run), model=facts.model.id)
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(file, json.dumps(asdict(made), indent=1) + "\n")
    return made


def _is_baseline(content: bytes) -> bool:
    """Whether a file is a baseline: only such a file is replaced by one."""
    try:
        Baseline(**json.loads(content))
    except (ValueError, TypeError, RecursionError):
        return False
    return True


def find(name: str, folder: Path = FOLDER) -> Path:
    """The run directory of a baseline. Raises `UserError` where it is gone or no longer holds what it held."""
    made = read(name, folder)
    run = (folder / made.run).resolve()
    load_run(run)
    if content_sha256(run) != made.sha256:
        raise UserError(
            f"baseline {name}: {run} has changed since it was saved",
            hint=f"restore it, or accept it with `llmc baseline save {name} {run} --overwrite`",
        )
    return run


def read(name: str, folder: Path = FOLDER) -> Baseline:
    """The baseline of that name."""
    if name not in (known := names(folder)):
        if not known:
            raise UserError(f"no baseline in {folder}", hint=f"make one with `llmc baseline save {name} DENSE_RUN`")
        raise unknown("baseline", name, known)
    file = folder / f"{name}.json"
    way = "move it away and save the baseline again"
    try:
        return _FORM.validate_python(json_object(file, at_most=LONGEST, hint=way))
    except ValidationError as error:
        raise UserError(f"{file} can't be read: {first_fault(error, 'the file')}", hint=way) from None


def names(folder: Path = FOLDER) -> Sequence[str]:
    """The names of all baselines in a folder."""
    return sorted(file.stem for file in folder.glob("*.json")) if folder.is_dir() else []


def content_sha256(run: Path) -> str:
    """sha256 over the names and contents of everything in a run that a comparison reads."""
    files = [run / "manifest.json", run / "results.json", *sorted((run / "samples").rglob("*.jsonl"))]
    total = hashlib.sha256()
    for file in files:
        found = hashlib.sha256()
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                found.update(part)
        total.update(f"{file.relative_to(run).as_posix()} {found.hexdigest()}\n".encode())
    return total.hexdigest()
