"""`--scorer`: a version of the marking rules, a toxicity scorer, or both; every word of it must be known."""

from __future__ import annotations

from typing import get_args

from llmc.errors import UserError, quoted, unknown
from llmc.trust.machinery.toxicity_scorer import resolve
from llmc.trust.scorers.versions import Version, version

TOXICITY = "toxicity"


def check_scorer(text: str) -> None:
    """Raises `UserError` for a name that nothing reads, with the nearest one, and for two of one kind."""
    named: list[str] = []
    for part in text.split(","):
        kind, equals, name = part.partition("=")
        if not part.strip() or part != part.strip():
            raise UserError(f"--scorer {quoted(text)} has an empty or padded part", hint="such as v1,toxicity=words")
        if not equals:
            version(part)
        elif kind != TOXICITY:
            raise unknown("part of --scorer", kind, [TOXICITY, *get_args(Version)])
        elif not name:
            raise UserError(f"--scorer {quoted(text)} names no toxicity scorer", hint="such as toxicity=words")
        else:
            resolve(name).check()
        named.append(TOXICITY if equals else "version")
    if len(set(named)) < len(named):
        raise UserError(f"--scorer {quoted(text)} names two of one kind", hint="keep one of them")
