"""Seeds: one range for all that draw at random, so that every generator takes them."""

from __future__ import annotations

from llmc.errors import UserError, quoted

LARGEST = 2**32 - 1
"""numpy's generators take no larger one."""


def check_seed(seed: int, option: str = "--seed") -> None:
    """Raises `UserError` for a seed that some generator refuses."""
    if not 0 <= seed <= LARGEST:
        raise UserError(f"{option} must lie between 0 and {LARGEST}, got {quoted(seed)}")
