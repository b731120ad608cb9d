"""How a kernel becomes a torch operator in the namespace `llmc`: what torch.compile and CUDA graphs see as one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_library: Any = torch.library.Library("llmc", "FRAGMENT")  # type: ignore[no-untyped-call]


def register(schema: str, *, cpu: Callable[..., Any], cuda: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """The operator `llmc::name` of this schema, as `torch.ops.llmc.name`.

    `cpu` is the plain reference, `cuda` launches the kernel and imports triton when it is first called; `fake` says
    from shapes alone what comes out. An operator has no derivative.
    """
    name = schema.split("(")[0]
    _library.define(schema)
    _library.impl(name, cpu, "CPU")
    _library.impl(name, cuda, "CUDA")
    torch.library.register_fake(f"llmc::{name}", fake, lib=_library)
    return getattr(torch.ops.llmc, name)
