"""Whether a file is what a gate has written: only such a file is replaced by the next gate's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

_COMPARISON = {"schema_version", "llmc", "created", "recommendation", "dense", "runs", "policy", "command"}


def _is_junit(content: bytes) -> bool:
    head = b'<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="llmc gate: '
    return content.startswith(head) and (content.endswith(b"</testsuites>\n") or content.endswith(b" />\n"))


def _is_comparison(content: bytes) -> bool:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.keys() >= _COMPARISON


def _is_page(content: bytes) -> bool:
    whole = content.lstrip().startswith(b"<!DOCTYPE html>") and content.rstrip().endswith(b"</html>")
    return whole and b'<p class="kicker">llmc: ' in content


def _is_markdown(content: bytes) -> bool:
    first = content.partition(b"\n")[0]
    return first.startswith(b"**llmc gate: ") and first.endswith(b"-->") and b"<!-- llmc-gate:" in first


WRITTEN: Mapping[str, Callable[[bytes], bool]] = {
    "--junit": _is_junit,
    "--json": _is_comparison,
    "--html": _is_page,
    "--markdown": _is_markdown,
}
"""By the option that names the file."""
