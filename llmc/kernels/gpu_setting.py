"""Whether the GPU kernels are used: not unless asked for, until their gates have passed on a device."""

from __future__ import annotations

import importlib.util
import os
from typing import Literal

import torch

from llmc.errors import UserError

VARIABLE = "LLMC_GPU_KERNELS"
LEAST_CAPABILITY = (8, 0)

Mode = Literal["off", "on", "magic"]


def mode() -> Mode:
    """What the environment asks for: `off` (also when it is not set), `on`, or `magic`.

    `magic` is for devices whose tensor cores flush subnormal float16 numbers; `bench/gpu.py` finds out.
    """
    said = os.environ.get(VARIABLE, "off").lower()
    if said in ("off", "0", ""):
        return "off"
    if said in ("on", "1"):
        return "on"
    if said == "magic":
        return "magic"
    raise UserError(f"{VARIABLE} must be off, on or magic, got {said!r}", hint="leave it unset for off")


def in_use(device: torch.device) -> bool:
    """Whether work on `device` goes through the kernels: asked for, triton installed, tensor cores new enough."""
    if device.type != "cuda" or mode() == "off" or importlib.util.find_spec("triton") is None:
        return False
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
