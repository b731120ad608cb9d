"""Gives back to the system what loading a model frees, instead of keeping it in the allocator's heap."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names for what `mallopt` sets (malloc.h)."""
SMALL = 1 << 18
"""Bytes from which on a tensor has pages of its own while a model is loaded."""
LARGE = 1 << 25
"""The same afterwards: as far as glibc lets it grow by itself on 64 bits. Fresh pages cost time in every call."""


@contextmanager
def freed_to_the_system() -> Iterator[None]:
    """Inside, what is freed leaves the process, where the C library is glibc; elsewhere nothing is changed.

    A layer that is unpacked leaves holes between the tensors that stay. glibc puts them into its heap, as it takes the
    size of the first large block that is freed for the size of those to come, and gives back the heap's end alone.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, SMALL)
    try:
        yield
    finally:
        libc.mallopt(_MMAP_THRESHOLD, LARGE)
        libc.mallopt(_TRIM_THRESHOLD, 2 * LARGE)
        libc.malloc_trim(0)


def _glibc() -> Any | None:
    try:
        libc = ctypes.CDLL(None)
        return libc if hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version") else None
    except OSError:
        return None
