"""Triton where it is installed; where it isn't, kernels can still be imported and say so when they are launched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmc.errors import UserError

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = tl = None

__all__ = ["HAS_TRITON", "jit", "jit_unspecialised", "tl"]

HAS_TRITON = triton is not None


class _Missing:
    """Stands for a kernel on a machine without triton."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.__name__, self.__doc__ = fn.__name__, fn.__doc__

    def __call__(self, *_args: Any, **_options: Any) -> Any:
        raise UserError(f"the kernel {self.__name__} needs triton", hint="pip install triton")

    def __getitem__(self, _grid: Any) -> _Missing:
        return self


def jit(fn: Callable[..., Any], **options: Any) -> Any:
    """`triton.jit(fn, **options)`, or what raises a `UserError` at launch where triton is missing."""
    return triton.jit(fn, **options) if HAS_TRITON else _Missing(fn)


def jit_unspecialised(*names: str) -> Callable[[Callable[..., Any]], Any]:
    """`jit` for kernels whose layout must not depend on whether the named integers are multiples of 16."""

    def decorate(fn: Callable[..., Any]) -> Any:
        return jit(fn, do_not_specialize=list(names))

    return decorate
