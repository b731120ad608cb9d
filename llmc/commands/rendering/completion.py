"""What a shell offers after Tab: names, found without importing what they name, so that it answers at once."""

from __future__ import annotations

import importlib.util
import pkgutil

SUITES = ("kick", "trust")
SCALES = ("mini", "quick", "full")
MODES = ("fixed", "compat")


def methods(incomplete: str) -> list[str]:
    """Compression methods: one public file each."""
    spec = importlib.util.find_spec("llmc.compress.methods")
    places = [] if spec is None else spec.submodule_search_locations
    names = [info.name for info in pkgutil.iter_modules(places)]
    return [name for name in sorted(names) if name.startswith(incomplete)]


def suites(incomplete: str) -> list[str]:
    """Suites, each once, behind those that stand there with a comma."""
    given, comma, last = incomplete.rpartition(",")
    return [f"{given}{comma}{name}" for name in SUITES if name.startswith(last) and name not in given.split(",")]


def scales(incomplete: str) -> list[str]:
    """Scales of the data."""
    return [name for name in SCALES if name.startswith(incomplete)]


def modes(incomplete: str) -> list[str]:
    """Modes of the protocols."""
    return [name for name in MODES if name.startswith(incomplete)]
