"""`llmc verify`: whether a finished folder still holds what llmc wrote there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmc.commands.rendering.say import say, say_json
from llmc.errors import Exit, UserError

if TYPE_CHECKING:
    from llmc.findings import Finding

KINDS = {
    "llmc_manifest.json": "compressed checkpoint", "comparison.json": "report", "items.jsonl.gz": "report",
    "manifest.json": "run",
}  # fmt: skip
"""What a folder is, by a file that is in it."""


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `compress`, `eval`, `compare` or `run` wrote.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check a finished folder: checksums, keys, shapes, manifest. Exit 0 whole, 1 damaged, 2 no such folder."""
    kind, found = _checked(folder)
    wrong = [each for each in found if not each.right]
    if as_json:
        checks = [each._asdict() for each in found]
        say_json({"folder": str(folder), "kind": kind, "whole": not wrong, "checks": checks}, indent=1)
    else:
        for each in found:
            say(f"{'ok   ' if each.right else 'WRONG'} {each.what}: {each.said}")
        say(f"{folder}: {kind}, {f'{len(wrong)} of {len(found)} checks failed' if wrong else 'whole'}")
    if wrong:
        raise typer.Exit(Exit.LOST)


def _checked(folder: Path) -> tuple[str, list[Finding]]:
    """What the folder is and what was found; a `UserError` where it is nothing that llmc finished."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no directory", hint="give a folder that llmc wrote")
    kind = next((kind for name, kind in KINDS.items() if (folder / name).is_file()), None)
    if kind is not None:
        return kind, _one(folder, kind)
    parts = [*_folders(folder / "models"), *_folders(folder / "runs"), *_folders(folder, only="report")]
    if not parts:
        unfinished = (folder / ".llmc" / "parts").is_dir()
        raise UserError(
            f"{folder} is {'an unfinished compression' if unfinished else 'no folder that llmc finished'}",
            hint="run its command again with --resume" if unfinished else "give what `compress`, `eval` or `run` wrote",
        )
    from llmc.findings import Finding, within

    found = []
    for part in parts:
        name = part.relative_to(folder).as_posix()
        try:
            found += within(name, _checked(part)[1])
        except UserError as error:  # what is missing from a whole is damage
            found.append(Finding(name, False, str(error)))
    return "folder of `llmc run`", found


def _folders(folder: Path, only: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(only) if path.is_dir() and not path.name.startswith("."))


def _one(folder: Path, kind: str) -> list[Finding]:
    if kind == "compressed checkpoint":
        from llmc.compress.check_folder import check_checkpoint
        from llmc.models.load import quiet

        quiet()
        return check_checkpoint(folder)
    from llmc.report.check_folder import check_report, check_run

    return check_run(folder) if kind == "run" else check_report(folder)


COMMAND = verify
