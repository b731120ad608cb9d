"""The three sets of marking rules behind published DecodingTrust numbers, and our own."""

from __future__ import annotations

from typing import Literal, cast, get_args

from llmc.errors import unknown

Version = Literal["v0", "v1", "vC", "fixed"]
"""`v0`: the first public code (the published GPT numbers of out-of-distribution); `v1`: the later main code;
`vC`: the code that scored compressed models; `fixed`: v1 with our own reading of refusals and agreement.
Where a dimension never changed, the names mean the same rules."""


def version(name: str | None, *, default: Version = "v1") -> Version:
    """`name` as a scorer version; `default` for None. Raises `UserError` for any other name."""
    if name is None:
        return default
    if name not in get_args(Version):
        raise unknown("scorer", name, get_args(Version))
    return cast(Version, name)
